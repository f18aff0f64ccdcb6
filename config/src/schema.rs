//! The JSON Schema of the file (draft 2020-12), made from the written forms, and the view of it
//! that [`conform`](crate::conform) needs.

use std::fmt;
use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::units::{Fault, Text};
use crate::written::Written;

/// The schema, for editors: `pillion schema`.
pub fn schema() -> String {
    serde_json::to_string_pretty(root()).expect("a JSON value can be written")
}

/// The schema.
pub(crate) fn root() -> &'static Value {
    static ROOT: OnceLock<Value> = OnceLock::new();
    ROOT.get_or_init(|| {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = generator.into_root_schema_for::<Written>().to_value();
        if let Some(root) = schema.as_object_mut() {
            root.insert("title".into(), "pillion.toml".into());
        }
        schema
    })
}

/// What a schema allows.
pub(crate) enum Form<'a> {
    Table {
        /// By key.
        known: Option<&'a Map<String, Value>>,
        /// For every other key, if any is allowed.
        other: Option<&'a Value>,
        required: Vec<&'a str>,
    },
    List {
        items: &'a Value,
    },
    Text(&'static TextForm),
    FreeText,
    Words(Vec<&'a str>),
    Boolean,
    Integer {
        least: i64,
        most: i64,
    },
    Number {
        least: f64,
        most: f64,
    },
}

impl<'a> Form<'a> {
    /// What `schema` allows; it comes from [`root`].
    pub(crate) fn of(schema: &'a Value) -> Self {
        let schema = resolved(schema);
        if let Some(words) = words(schema) {
            return Self::Words(words);
        }
        match kind(schema) {
            "object" => Self::Table {
                known: schema.get("properties").and_then(Value::as_object),
                other: schema
                    .get("additionalProperties")
                    .filter(|other| other.is_object()),
                required: strings(schema.get("required")),
            },
            "array" => Self::List {
                items: schema.get("items").unwrap_or(&Value::Null),
            },
            "boolean" => Self::Boolean,
            "integer" => {
                let bound = |name| {
                    schema
                        .get(name)
                        .and_then(Value::as_f64)
                        .map(|bound| bound as i64)
                };
                Self::Integer {
                    least: bound("minimum").unwrap_or(i64::MIN),
                    most: bound("maximum").unwrap_or(i64::MAX),
                }
            }
            "number" => {
                let bound = |name| schema.get(name).and_then(Value::as_f64);
                Self::Number {
                    least: bound("minimum").unwrap_or(f64::MIN),
                    most: bound("maximum").unwrap_or(f64::MAX),
                }
            }
            _ => {
                let format = schema.get("format").and_then(Value::as_str);
                let form = TEXT_FORMS.iter().find(|form| Some(form.name) == format);
                form.map_or(Self::FreeText, Self::Text)
            }
        }
    }

    /// The keys of a table.
    pub(crate) fn keys(&self) -> Vec<&'a str> {
        match self {
            Self::Table { known, .. } => known
                .iter()
                .flat_map(|known| known.keys().map(String::as_str))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The next step for somebody who wrote something of another type.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::Table { known: None, .. } => "write a table with a name".to_owned(),
            Self::Table { .. } => format!("keys here are {}", self.keys().join(", ")),
            Self::List { .. } => "write it in square brackets".to_owned(),
            Self::Text(form) => {
                format!("write for example {:?}", form.example())
            }
            Self::FreeText => "write it in quotes".to_owned(),
            Self::Words(_) => "write one of these words in quotes".to_owned(),
            Self::Boolean => "write true or false, without quotes".to_owned(),
            Self::Integer { .. } | Self::Number { .. } => {
                "write a number within these bounds".to_owned()
            }
        }
    }
}

impl fmt::Display for Form<'_> {
    /// Completes "allowed is …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { .. } => f.write_str("a table"),
            Self::List { .. } => f.write_str("a list"),
            Self::Text(form) => {
                let examples: Vec<_> = form
                    .examples
                    .iter()
                    .map(|text| format!("{text:?}"))
                    .collect();
                write!(f, "{}, like {}", form.meaning, examples.join(", "))
            }
            Self::FreeText => f.write_str("text"),
            Self::Words(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
                f.write_str(&words.join(" or "))
            }
            Self::Boolean => f.write_str("true or false"),
            Self::Integer {
                least,
                most: i64::MAX,
            } => write!(f, "a whole number from {least}"),
            Self::Integer { least, most } => write!(f, "a whole number from {least} to {most}"),
            Self::Number { least, most } => write!(f, "a number from {least} to {most}"),
        }
    }
}

/// One [`Text`] form, found by its name.
pub(crate) struct TextForm {
    name: &'static str,
    meaning: &'static str,
    examples: &'static [&'static str],
    pub(crate) check: fn(&str) -> Result<(), Fault>,
    pub(crate) for_bare_number: fn(i64) -> Option<String>,
}

impl TextForm {
    /// Whether what is written in its place must not be shown.
    pub(crate) fn is_secret(&self) -> bool {
        self.name == <crate::secret::WrittenSecret as Text>::FORMAT
    }

    /// The most usual one.
    pub(crate) fn example(&self) -> &'static str {
        self.examples.first().copied().unwrap_or_default()
    }

    const fn of<T: Text>() -> Self {
        Self {
            name: T::FORMAT,
            meaning: T::MEANING,
            examples: T::EXAMPLES,
            check: |text| T::parse(text).map(drop),
            for_bare_number: T::for_bare_number,
        }
    }
}

/// Every form that the schema names; a test sees to it that none is missing.
static TEXT_FORMS: &[TextForm] = &[
    TextForm::of::<crate::units::Period>(),
    TextForm::of::<crate::units::PeriodOrZero>(),
    TextForm::of::<crate::units::PeriodOrNone>(),
    TextForm::of::<crate::units::Size>(),
    TextForm::of::<crate::units::SizeOrZero>(),
    TextForm::of::<crate::units::SizeOrUnlimited>(),
    TextForm::of::<crate::units::Mode>(),
    TextForm::of::<crate::units::FilePath>(),
    TextForm::of::<crate::listen::WrittenAddress>(),
    TextForm::of::<crate::upstream::WrittenUrl>(),
    TextForm::of::<crate::invalidate::WrittenTag>(),
    TextForm::of::<crate::invalidate::WrittenPrefix>(),
    TextForm::of::<crate::invalidate::WrittenStatuses>(),
    TextForm::of::<crate::upstream::ServerName>(),
    TextForm::of::<crate::pattern::WrittenPattern>(),
    TextForm::of::<crate::pattern::Prefix>(),
    TextForm::of::<crate::forwarding::Network>(),
    TextForm::of::<crate::forwarding::Pseudonym>(),
    TextForm::of::<crate::names::FieldName>(),
    TextForm::of::<crate::names::CookieName>(),
    TextForm::of::<crate::names::ParameterName>(),
    TextForm::of::<crate::redis_url::WrittenRedisUrl>(),
    TextForm::of::<crate::redis::MasterName>(),
    TextForm::of::<crate::redis::Prefix>(),
    TextForm::of::<crate::secret::WrittenSecret>(),
];

/// The tables, other than `except`, that have this key: for whoever wrote it in the wrong one.
pub(crate) fn tables_with(key: &str, except: &str) -> Vec<String> {
    let mut tables = Vec::new();
    visit(root(), &mut Vec::new(), &mut |path, _| {
        if let Some((last, table)) = path.split_last() {
            let table = table.join(".");
            // What a route can say as well is named once, where it is said for all.
            let is_override = table.matches('.').count() > 0 && table.starts_with("route.");
            if last == key && table != except && !is_override {
                tables.push(match table.as_str() {
                    "" => "the top level".to_owned(),
                    table => format!("[{table}]"),
                });
            }
        }
    });
    tables
}

/// Calls `see` with every key of `schema` and what it allows, tables before what is in them.
/// Elements of lists have the list's key, entries of maps are `NAME`.
pub(crate) fn visit<'a>(
    schema: &'a Value,
    path: &mut Vec<String>,
    see: &mut dyn FnMut(&[String], &Form<'a>),
) {
    let form = Form::of(schema);
    if !path.is_empty() {
        see(path, &form);
    }
    match form {
        Form::Table { known, other, .. } => {
            for (key, schema) in known.into_iter().flatten() {
                path.push(key.clone());
                visit(schema, path, see);
                path.pop();
            }
            if let Some(schema) = other {
                path.push("NAME".to_owned());
                visit(schema, path, see);
                path.pop();
            }
        }
        Form::List { items } if kind(resolved(items)) == "object" => {
            if let Form::Table { known, .. } = Form::of(items) {
                for (key, schema) in known.into_iter().flatten() {
                    path.push(key.clone());
                    visit(schema, path, see);
                    path.pop();
                }
            }
        }
        _ => {}
    }
}

/// Follows references, and leaves out the `null` of what is optional.
fn resolved(schema: &Value) -> &Value {
    let next = match (
        schema.get("$ref").and_then(Value::as_str),
        schema.get("anyOf"),
    ) {
        (Some(reference), _) => reference
            .strip_prefix('#')
            .and_then(|at| root().pointer(at)),
        (None, Some(Value::Array(choices))) => choices
            .iter()
            .find(|choice| choice.get("type") != Some(&"null".into())),
        _ => None,
    };
    next.map_or(schema, resolved)
}

fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null")
            .unwrap_or_default(),
        _ => "",
    }
}

/// The words of an enumeration.
fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum") {
        return Some(strings(Some(words)));
    }
    let choices = schema.get("oneOf")?.as_array()?;
    let of_choice = |choice| match words(choice) {
        Some(words) => words,
        None => strings_of_const(choice),
    };
    Some(choices.iter().flat_map(of_choice).collect())
}

fn strings_of_const(choice: &Value) -> Vec<&str> {
    choice
        .get("const")
        .and_then(Value::as_str)
        .into_iter()
        .collect()
}

fn strings(list: Option<&Value>) -> Vec<&str> {
    let list = list.and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_form_in_the_schema_is_known() {
        fn formats<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(map) => {
                    if map.get("type") == Some(&"string".into()) {
                        found.extend(map.get("format").and_then(Value::as_str));
                    }
                    map.values().for_each(|value| formats(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| formats(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        formats(root(), &mut found);
        assert!(!found.is_empty());
        for format in found {
            assert!(
                TEXT_FORMS.iter().any(|form| form.name == format),
                "{format}"
            );
        }
    }

    #[test]
    fn the_examples_of_a_form_are_of_that_form() {
        for form in TEXT_FORMS {
            for example in form.examples {
                let result = (form.check)(example);
                assert!(result.is_ok(), "{}: {example}: {result:?}", form.name);
            }
        }
    }

    #[test]
    fn tables_refuse_unknown_keys() {
        visit(root(), &mut Vec::new(), &mut |path, form| {
            if let Form::Table { known, other, .. } = form {
                assert!(known.is_some() || other.is_some(), "{path:?}");
            }
        });
        assert_eq!(
            root().get("additionalProperties"),
            Some(&Value::Bool(false))
        );
    }

    #[test]
    fn schema_is_draft_2020_12() {
        let dialect = "https://json-schema.org/draft/2020-12/schema";
        assert_eq!(root().get("$schema"), Some(&dialect.into()));
    }
}
