//! The place a check stands at: a key path, and whoever hears of problems there.

use std::path::{Path, PathBuf};

use crate::document::{Item, KeyPath, Origin, Value};
use crate::problem::Report;
use crate::units::FilePath;

/// One key or table of the configuration while its meaning is checked.
#[derive(Clone)]
pub(crate) struct Site<'a> {
    report: &'a Report,
    root: &'a Item,
    folder: &'a Path,
    path: KeyPath,
}

impl<'a> Site<'a> {
    /// The whole; `folder` holds the file.
    pub(crate) fn new(report: &'a Report, root: &'a Item, folder: &'a Path) -> Self {
        Self {
            report,
            root,
            folder,
            path: KeyPath::default(),
        }
    }

    /// The key below.
    pub(crate) fn key(&self, key: &str) -> Self {
        Self {
            path: self.path.key(key),
            ..self.clone()
        }
    }

    /// The element below.
    pub(crate) fn index(&self, index: usize) -> Self {
        Self {
            path: self.path.index(index),
            ..self.clone()
        }
    }

    /// Whether somebody wrote this, the profile aside.
    pub(crate) fn is_written(&self) -> bool {
        self.written()
            .is_some_and(|item| !matches!(item.origin, Origin::Profile(_)))
    }

    /// Whether the file says this: what lasts, and is read by others than its writer.
    pub(crate) fn is_in_file(&self) -> bool {
        self.written()
            .is_some_and(|item| matches!(item.origin, Origin::File(_)))
    }

    /// What is written here.
    pub(crate) fn written(&self) -> Option<&'a Item> {
        self.path.find(self.root)
    }

    /// Whether `true` is written here.
    pub(crate) fn is_true(&self) -> bool {
        matches!(
            self.written().map(|item| &item.value),
            Some(Value::Boolean(true))
        )
    }

    /// `file:line` or the flag, for a problem elsewhere that speaks of this.
    pub(crate) fn described(&self) -> String {
        self.report.described(&self.path.origin(self.root))
    }

    /// What stands here cannot be meant. Silent where the form was wrong already.
    pub(crate) fn problem(&self, message: impl Into<String>, help: impl Into<String>) {
        if !self.is_unclear() {
            let origin = self.path.origin(self.root);
            self.report.meaning(&self.path, &origin, message, help);
        }
    }

    /// What stands here needs thought.
    pub(crate) fn warning(&self, message: impl Into<String>, help: impl Into<String>) {
        let origin = self.path.origin(self.root);
        self.report.warning(&self.path, &origin, message, help);
    }

    /// Whether the table had a problem of form, so that what is missing from it may be there.
    pub(crate) fn is_unclear(&self) -> bool {
        let table = self.path.top().unwrap_or_default();
        self.report.is_unclear(table)
    }

    /// The file that is named here: in the file, relative to its folder; in a flag, to ours.
    pub(crate) fn file(&self, path: &FilePath) -> PathBuf {
        match self.path.origin(self.root) {
            Origin::File(_) => self.folder.join(&path.0),
            _ => PathBuf::from(&path.0),
        }
    }

    /// Like [`Site::file`], and warns if there is none (yet).
    pub(crate) fn existing_file(&self, path: &FilePath) -> PathBuf {
        let file = self.file(path);
        if !file.exists() {
            let message = format!("there is no file {}", file.display());
            self.warning(message, "create it before the start, or correct the path");
        }
        file
    }
}
