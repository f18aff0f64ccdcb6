//! A configuration as a tree in which every value knows where it came from.
//!
//! The file, the environment, the flags and a profile are trees of one kind, laid over each other
//! key by key; the result is checked, explained and printed without anybody remembering who won.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::expand::expand;
use crate::problem::Report;
use crate::profile::Profile;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody wrote it.
    Default,
    /// The profile moves this default.
    Profile(Profile),
    /// These bytes of the file.
    File(Range<usize>),
    /// This variable.
    Environment(&'static str),
    /// This flag, as it is typed.
    Flag(&'static str),
}

/// A value with its origin.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// A key's origin, and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Origin,
    pub(crate) item: Item,
}

/// Keys to what they hold.
pub(crate) type Table = BTreeMap<String, Entry>;

/// What a key can hold.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Item>),
    Table(Table),
    /// Something of TOML that no key takes, by its name.
    Other(&'static str),
    /// A problem with it is reported already.
    Broken,
}

impl Item {
    pub(crate) fn new(value: Value, origin: Origin) -> Self {
        Self { value, origin }
    }

    /// A table without a key.
    pub(crate) fn empty() -> Self {
        Self::new(Value::Table(Table::new()), Origin::Default)
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// What `key` of this table holds.
    pub(crate) fn child(&self, key: &str) -> Option<&Self> {
        Some(&self.table()?.get(key)?.item)
    }

    /// Lays `above` over this: tables key by key, everything else as a whole.
    pub(crate) fn overlay(&mut self, above: Self) {
        match (&mut self.value, above.value) {
            (Value::Table(below), Value::Table(table)) => {
                self.origin = above.origin;
                for (key, entry) in table {
                    match below.get_mut(&key) {
                        Some(under) => {
                            under.key = entry.key;
                            under.item.overlay(entry.item);
                        }
                        None => {
                            below.insert(key, entry);
                        }
                    }
                }
            }
            (_, value) => *self = Self::new(value, above.origin),
        }
    }

    /// For serde. Values that no key takes are left out; they were reported.
    pub(crate) fn to_json(&self) -> Option<serde_json::Value> {
        Some(match &self.value {
            Value::Text(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Boolean(is) => (*is).into(),
            Value::List(items) => items.iter().filter_map(Self::to_json).collect(),
            Value::Table(table) => table
                .iter()
                .filter_map(|(key, entry)| Some((key.clone(), entry.item.to_json()?)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Value::Other(_) | Value::Broken => return None,
        })
    }

    /// For writing it out again.
    pub(crate) fn to_toml(&self) -> Option<toml::Value> {
        Some(match &self.value {
            Value::Text(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Boolean(is) => (*is).into(),
            Value::List(items) => {
                toml::Value::Array(items.iter().filter_map(Self::to_toml).collect())
            }
            Value::Table(table) => toml::Value::Table(
                table
                    .iter()
                    .filter_map(|(key, entry)| Some((key.clone(), entry.item.to_toml()?)))
                    .collect(),
            ),
            Value::Other(_) | Value::Broken => return None,
        })
    }
}

/// The tree of a TOML text, variables expanded. Problems are reported and leave a smaller tree.
pub(crate) fn read(text: &str, env: &dyn Fn(&str) -> Option<String>, report: &Report) -> Item {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut wrong = Vec::new();
    for error in errors {
        let place = error.span().unwrap_or(0..0);
        report.syntax(place.clone(), error.message());
        wrong.push(place.start);
    }
    let mut reader = Reader {
        env,
        report,
        wrong,
        path: KeyPath::default(),
    };
    let span = table.span();
    Item::new(reader.table(table.into_inner()), Origin::File(span))
}

struct Reader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    report: &'a Report,
    /// Where TOML itself is wrong: what is read there is a guess.
    wrong: Vec<usize>,
    path: KeyPath,
}

impl Reader<'_> {
    fn table(&mut self, table: DeTable<'_>) -> Value {
        let mut entries = Table::new();
        for (key, value) in table {
            let span = key.span();
            let key = key.into_inner().into_owned();
            self.path.push(Step::Key(key.clone()));
            let item = self.item(value);
            self.path.pop();
            let key_origin = Origin::File(span);
            entries.insert(
                key,
                Entry {
                    key: key_origin,
                    item,
                },
            );
        }
        Value::Table(entries)
    }

    fn item(&mut self, value: Spanned<DeValue<'_>>) -> Item {
        let span = value.span();
        let is_guess = self.wrong.iter().any(|place| span.contains(place));
        let origin = Origin::File(span);
        let value = match value.into_inner() {
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) if is_guess => {
                Value::Broken
            }
            DeValue::String(text) => match expand(&text, self.env) {
                Ok(text) => Value::Text(text),
                Err(fault) => {
                    self.report
                        .problem(&self.path, &origin, fault.reason, fault.help);
                    Value::Broken
                }
            },
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number beyond 64 bits"), Value::Integer),
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Value::Float(number),
                _ => Value::Other("a number that is not finite"),
            },
            DeValue::Boolean(is) => Value::Boolean(is),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| {
                        self.path.push(Step::Index(index));
                        let item = self.item(item);
                        self.path.pop();
                        item
                    })
                    .collect(),
            ),
            DeValue::Table(table) => self.table(table),
        };
        Item::new(value, origin)
    }
}

/// The way to a value: `upstream.app.url`, `route[0].cache.ttl`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyPath(Vec<Step>);

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl KeyPath {
    pub(crate) fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }

    pub(crate) fn then(&self, step: Step) -> Self {
        let mut longer = self.clone();
        longer.push(step);
        longer
    }

    pub(crate) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    /// The top-level table it is in.
    pub(crate) fn top(&self) -> Option<&str> {
        match self.0.first() {
            Some(Step::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// The origin of the value there, or of the nearest one around it that somebody wrote.
    pub(crate) fn origin(&self, root: &Item) -> Origin {
        let mut item = root;
        let mut origin = Origin::Default;
        for step in &self.0 {
            let next = match (&item.value, step) {
                (Value::Table(table), Step::Key(key)) => table.get(key).map(|entry| &entry.item),
                (Value::List(items), Step::Index(index)) => items.get(*index),
                _ => None,
            };
            let Some(next) = next else { break };
            item = next;
            origin = item.origin.clone();
        }
        origin
    }

    /// The value there, if somebody wrote it.
    pub(crate) fn find<'a>(&self, root: &'a Item) -> Option<&'a Item> {
        self.0
            .iter()
            .try_fold(root, |item, step| match (&item.value, step) {
                (Value::Table(table), Step::Key(key)) => table.get(key).map(|entry| &entry.item),
                (Value::List(items), Step::Index(index)) => items.get(*index),
                _ => None,
            })
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let dot = if index == 0 { "" } else { "." };
                    write!(f, "{dot}{}", toml_key(key))?;
                }
            }
        }
        Ok(())
    }
}

/// A key as TOML writes it: quoted unless bare.
pub(crate) fn toml_key(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(is_bare) {
        key.to_owned()
    } else {
        toml::Value::from(key).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Item {
        read(text, &|_| None, &Report::new("test.toml", text))
    }

    #[test]
    fn tables_are_laid_over_each_other_key_by_key() {
        let mut below = tree("[cache]\nenabled = true\nkey = { drop = ['a', 'b'], query = 'raw' }");
        below.overlay(tree("[cache]\nkey = { drop = ['c'] }"));
        let expected = tree("[cache]\nenabled = true\nkey = { drop = ['c'], query = 'raw' }");
        assert_eq!(below.to_json(), expected.to_json());
    }

    #[test]
    fn a_path_finds_the_nearest_origin() {
        let text = "[[route]]\nmatch = '/x'\n";
        let root = tree(text);
        let route = KeyPath::default().key("route").index(0);
        let at = |path: KeyPath| match path.origin(&root) {
            Origin::File(span) => text.get(span),
            _ => None,
        };
        assert_eq!(at(route.key("match")), Some("'/x'"));
        assert_eq!(at(route.key("upstream")), Some("[[route]]"));
        assert_eq!(route.key("a b").to_string(), "route[0].\"a b\"");
    }
}
