//! The effective configuration as TOML that can be loaded again.

use std::fmt::Write;

use toml::{Table, Value};

use crate::document::{Item, KeyPath, Origin, toml_key};
use crate::listen::WrittenListen;
use crate::problem::Report;
use crate::written::Written;

/// With a comment at every key that says where its value came from.
pub(crate) fn effective(
    written: &Written,
    document: &Item,
    threads: usize,
    report: &Report,
) -> String {
    let origin = |path: &KeyPath| match path.find(document) {
        Some(item) => report.described(&item.origin),
        None => report.described(&Origin::Default),
    };
    let mut printer = Printer {
        out: String::new(),
        comment: Some(&origin),
    };
    printer.table(&KeyPath::default(), "", &whole(written, document, threads));
    printer.out
}

/// Without comments.
pub(crate) fn plain(written: &Written, document: &Item, threads: usize) -> String {
    let mut printer = Printer {
        out: String::new(),
        comment: None,
    };
    printer.table(&KeyPath::default(), "", &whole(written, document, threads));
    printer.out
}

fn whole(written: &Written, document: &Item, threads: usize) -> Table {
    let mut written = written.clone();
    written.threads = Some(threads);
    if written.listen.is_empty() {
        written.listen.push(WrittenListen::default());
    }
    let mut whole = Table::try_from(&written).expect("every written form is a TOML value");
    // A route is shown as written: what else applies to it stands in the tables of all routes.
    match document.child("route").and_then(Item::to_toml) {
        Some(routes) => whole.insert("route".to_owned(), routes),
        None => whole.remove("route"),
    };
    whole
}

struct Printer<'a> {
    out: String,
    /// What to say of a key.
    comment: Option<&'a dyn Fn(&KeyPath) -> String>,
}

impl Printer<'_> {
    /// Values first, then the tables below, so that each value is of the table above it.
    fn table(&mut self, path: &KeyPath, header: &str, table: &Table) {
        for (key, value) in table.iter().filter(|(_, value)| !is_table(value)) {
            self.value(&path.key(key), key, value);
        }
        for (key, value) in table {
            let path = path.key(key);
            let header = match header {
                "" => toml_key(key),
                above => format!("{above}.{}", toml_key(key)),
            };
            match value {
                Value::Table(below) => {
                    if below.values().any(|value| !is_table(value)) {
                        self.line(&format!("\n[{header}]"));
                    }
                    self.table(&path, &header, below);
                }
                Value::Array(elements) if is_table(value) => {
                    for (index, element) in elements.iter().enumerate() {
                        self.line(&format!("\n[[{header}]]"));
                        if let Value::Table(element) = element {
                            self.table(&path.index(index), &header, element);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn value(&mut self, path: &KeyPath, key: &str, value: &Value) {
        let line = format!("{} = {}", toml_key(key), escaped(value));
        match self.comment {
            Some(comment) => self.line(&format!("{line:COMMENTS_AT$} # {}", comment(path))),
            None => self.line(&line),
        }
    }

    fn line(&mut self, line: &str) {
        writeln!(self.out, "{line}").expect("a String takes every text");
    }
}

/// `value` as it must be written so that nothing in it is taken for a variable.
fn escaped(value: &Value) -> Value {
    match value {
        Value::String(text) => text.replace("${", "$${").into(),
        Value::Array(elements) => elements.iter().map(escaped).collect::<Vec<_>>().into(),
        Value::Table(table) => {
            let escape = |(key, value): (&String, &Value)| (key.clone(), escaped(value));
            Value::Table(table.iter().map(escape).collect())
        }
        other => other.clone(),
    }
}

/// A table, or a list of nothing but tables.
fn is_table(value: &Value) -> bool {
    match value {
        Value::Table(_) => true,
        Value::Array(elements) => !elements.is_empty() && elements.iter().all(Value::is_table),
        _ => false,
    }
}

/// Wide enough for most lines, narrow enough for two windows side by side.
const COMMENTS_AT: usize = 48;
