//! Holds a document against the schema: every unknown key and every value of a wrong form at once.
//!
//! What is allowed is read from the JSON Schema, which is made from the written forms, so there is
//! no second list of keys. What does not conform is reported and cut out; the rest goes on.

use serde_json::Value as Schema;

use crate::document::{Item, KeyPath, Origin, Step, Value, toml_key};
use crate::nearest::nearest;
use crate::problem::Report;
use crate::schema::{self, Form};

/// Reports what does not conform, and cuts it out of `root`.
pub(crate) fn conform(root: &mut Item, report: &Report) {
    let mut conformer = Conformer {
        report,
        path: KeyPath::default(),
    };
    conformer.keeps(schema::root(), root);
}

struct Conformer<'a> {
    report: &'a Report,
    path: KeyPath,
}

impl Conformer<'_> {
    /// Whether `item` may stay.
    fn keeps(&mut self, schema: &Schema, item: &mut Item) -> bool {
        if matches!(item.value, Value::Broken) {
            return false;
        }
        let form = Form::of(schema);
        match (&form, &mut item.value) {
            (Form::Table { .. }, Value::Table(_)) => self.keeps_table(&form, item),
            (Form::List { items }, Value::List(list)) => self.keeps_list(items, list),
            (Form::Text(kind), Value::Text(text)) => match (kind.check)(text) {
                Ok(()) => true,
                Err(fault) => {
                    let message = format!("{text:?} {}", fault.reason);
                    self.refuse(&item.origin, message, fault.help)
                }
            },
            (Form::Words(words), Value::Text(text)) => {
                words.contains(&text.as_str()) || self.refuse_word(&item.origin, text, words)
            }
            (Form::FreeText, Value::Text(_)) | (Form::Boolean, Value::Boolean(_)) => true,
            (Form::Integer { least, most }, &mut Value::Integer(number)) => {
                (*least..=*most).contains(&number) || self.refuse_form(item, &form)
            }
            (Form::Number { least, most }, Value::Integer(_) | Value::Float(_)) => {
                let number = match item.value {
                    Value::Float(number) => number,
                    // Bounds are small, so what a conversion loses does not matter.
                    Value::Integer(number) => number as f64,
                    _ => f64::NAN,
                };
                (*least..=*most).contains(&number) || self.refuse_form(item, &form)
            }
            _ => self.refuse_form(item, &form),
        }
    }

    fn keeps_table(&mut self, form: &Form<'_>, item: &mut Item) -> bool {
        let Form::Table {
            known,
            other,
            required,
        } = form
        else {
            return false;
        };
        let origin = item.origin.clone();
        let Some(table) = item.table_mut() else {
            return false;
        };
        let mut cut = Vec::new();
        for (key, entry) in table.iter_mut() {
            let schema = known.and_then(|known| known.get(key)).or(*other);
            self.path.push(Step::Key(key.clone()));
            let stays = match schema {
                Some(schema) if known.is_none() && is_key_of(schema, key, &entry.item) => {
                    let example = self.path.to_string().replace(key.as_str(), "app");
                    let message = format!("`{key}` is not under a name");
                    self.refuse(&entry.key, message, format!("write it under [{example}]"))
                }
                Some(schema) => self.keeps(schema, &mut entry.item),
                None => self.refuse_key(&entry.key, key, form),
            };
            self.path.pop();
            if !stays {
                cut.push(key.clone());
            }
        }
        let mut whole = true;
        for required in required {
            let meant = |key: &&String| nearest(key, [*required].into_iter()).is_some();
            if !table.contains_key(*required) && !cut.iter().any(|key| meant(&key)) {
                let message = format!("`{required}` is missing");
                let schema = known.and_then(|known| known.get(*required));
                let help = match schema.map(Form::of) {
                    Some(Form::Text(kind)) => format!("write `{required} = {:?}`", kind.example()),
                    _ => format!("write `{required} = …`"),
                };
                self.report.problem(&self.path, &origin, message, help);
            }
            whole &= table.contains_key(*required) && !cut.iter().any(|key| key == required);
        }
        for key in cut {
            table.remove(&key);
        }
        whole
    }

    fn keeps_list(&mut self, items: &Schema, list: &mut [Item]) -> bool {
        for (index, item) in list.iter_mut().enumerate() {
            self.path.push(Step::Index(index));
            // Kept in its place, so that the paths of the others still lead to them.
            if !self.keeps(items, item) {
                item.value = Value::Broken;
            }
            self.path.pop();
        }
        true
    }

    fn refuse(&self, origin: &Origin, message: String, help: String) -> bool {
        self.report.problem(&self.path, origin, message, help);
        false
    }

    fn refuse_form(&self, item: &Item, form: &Form<'_>) -> bool {
        let found = match form {
            Form::Text(kind) if kind.is_secret() => "something else".to_owned(),
            _ => found(&item.value),
        };
        let message = format!("found {found}, allowed is {form}");
        let help = match (form, &item.value) {
            (Form::Text(kind), Value::Integer(number)) => (kind.for_bare_number)(*number),
            (Form::Words(words), Value::Boolean(false)) if words.contains(&"off") => {
                Some("write \"off\"".to_owned())
            }
            (Form::Table { .. }, Value::Boolean(is)) if form.keys().contains(&"enabled") => {
                Some(format!("write {{ enabled = {is} }}"))
            }
            (Form::List { .. }, Value::Text(text)) => Some(format!("write [{text:?}]")),
            (Form::Boolean, Value::Text(text)) if text.parse::<bool>().is_ok() => {
                Some(format!("write {text} without quotes"))
            }
            (Form::Integer { .. } | Form::Number { .. }, Value::Text(text))
                if text.parse::<f64>().is_ok() =>
            {
                Some(format!("write {text} without quotes"))
            }
            _ => None,
        };
        let help = help.unwrap_or_else(|| form.advice());
        self.refuse(&item.origin, message, help)
    }

    fn refuse_word(&self, origin: &Origin, word: &str, words: &[&str]) -> bool {
        let message = format!("found {word:?}, allowed is {}", Form::Words(words.to_vec()));
        let help = match nearest(word, words.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "write one of these words".to_owned(),
        };
        self.refuse(origin, message, help)
    }

    fn refuse_key(&self, origin: &Origin, key: &str, form: &Form<'_>) -> bool {
        let mut table = self.path.clone();
        table.pop();
        let keys = form.keys();
        let near = nearest(key, keys.iter().copied());
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => match schema::tables_with(key, &table.to_string()).as_slice() {
                [] => format!("keys here are {}", keys.join(", ")),
                tables => format!("`{key}` is a key of {}", tables.join(", ")),
            },
        };
        if table.top().is_none() {
            // Whoever misspelt a table gets no complaint that it is missing.
            near.into_iter()
                .for_each(|near| self.report.mark_unclear(near));
        }
        let message = format!("unknown key `{}`", toml_key(key));
        self.report.problem(&table, origin, message, help);
        false
    }
}

/// Whether somebody left out the name between a table and its key: `upstream.url`.
fn is_key_of(schema: &Schema, key: &str, item: &Item) -> bool {
    item.table().is_none() && Form::of(schema).keys().contains(&key)
}

fn found(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("the text {text:?}"),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Boolean(is) => is.to_string(),
        Value::List(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        Value::Other(what) => (*what).to_owned(),
        Value::Broken => "nothing".to_owned(),
    }
}
