//! What is wrong with a configuration, all of it at once, each with its place and the next step.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use crate::document::{KeyPath, Origin};
use crate::secret::masked;

/// One thing that is wrong, or that needs thought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    severity: Severity,
    path: String,
    place: Place,
    message: String,
    help: Vec<String>,
}

/// Whether a [`Problem`] stops a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// Where a [`Problem`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File {
        name: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        snippet: Snippet,
    },
    Environment(&'static str),
    Flag(&'static str),
    /// In nothing that somebody wrote.
    Nowhere,
}

/// One line of the file, made fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet {
    text: String,
    /// Characters before the marked ones.
    before: usize,
    /// Marked characters, at least one.
    marked: usize,
}

impl Problem {
    /// The key it is about: `route[0].cache.ttl`. Empty for the whole.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong, in one sentence without its place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The next steps.
    pub fn help(&self) -> &[String] {
        &self.help
    }

    /// `pillion.toml:12:3`, `--listen`, `PILLION_LISTEN`, or nothing.
    pub fn place(&self) -> String {
        match &self.place {
            Place::File {
                name, line, column, ..
            } => format!("{name}:{line}:{column}"),
            Place::Environment(name) | Place::Flag(name) => (*name).to_owned(),
            Place::Nowhere => String::new(),
        }
    }

    /// A problem with the file as a whole, or with no file.
    pub(crate) fn whole(message: String, help: &str) -> Self {
        Self {
            severity: Severity::Error,
            path: String::new(),
            place: Place::Nowhere,
            message,
            help: vec![help.to_owned()],
        }
    }
}

impl fmt::Display for Problem {
    /// As a compiler shows it: message, place, the line with a mark under what is meant, help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let path = match self.path.as_str() {
            "" => String::new(),
            path => format!(" {}:", visible(path)),
        };
        writeln!(f, "{severity}:{path} {}", visible(&self.message))?;
        let margin = match &self.place {
            Place::File { line, .. } => line.to_string().len(),
            _ => 1,
        };
        match &self.place {
            Place::File { line, snippet, .. } => {
                writeln!(f, "{:margin$}--> {}", "", visible(&self.place()))?;
                writeln!(f, "{:margin$} |", "")?;
                writeln!(f, "{line} | {}", snippet.text)?;
                let (before, marks) = (snippet.before, "^".repeat(snippet.marked));
                writeln!(f, "{:margin$} | {:before$}{marks}", "", "")?;
            }
            Place::Flag(name) => writeln!(f, "{:margin$}--> the flag {name}", "")?,
            Place::Environment(name) => writeln!(f, "{:margin$}--> the variable {name}", "")?,
            Place::Nowhere => {}
        }
        for help in &self.help {
            writeln!(f, "{:margin$} = help: {}", "", visible(help))?;
        }
        Ok(())
    }
}

/// All that is wrong; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn new(list: Vec<Problem>) -> Self {
        Self(list)
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.0.iter().take(SHOWN) {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            count if count > SHOWN => write!(f, "And {} more problems.", count - SHOWN),
            1 => write!(f, "1 problem; nothing was started or changed."),
            count => write!(f, "{count} problems; nothing was started or changed."),
        }
    }
}

impl std::error::Error for Problems {}

/// Collects problems while a configuration is read.
#[derive(Debug)]
pub(crate) struct Report {
    name: String,
    text: String,
    /// Behind a `RefCell` because every check adds to it while others hold it, on one thread.
    found: RefCell<Vec<(usize, Problem)>>,
    /// Whether the TOML itself is wrong, so that anything may be missing.
    is_broken: RefCell<bool>,
    /// Top-level tables with a problem of form, whose meaning is not judged any more.
    unclear: RefCell<Vec<String>>,
}

impl Report {
    /// For the file `name` with this content.
    pub(crate) fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            found: RefCell::default(),
            is_broken: RefCell::default(),
            unclear: RefCell::default(),
        }
    }

    /// The TOML itself is wrong here.
    pub(crate) fn syntax(&self, span: Range<usize>, message: &str) {
        *self.is_broken.borrow_mut() = true;
        let help = match message {
            "duplicate key" => "write it once; one table stands in one place",
            message if message.starts_with("string values must be quoted") => "put it in quotes",
            message if message.starts_with("unexpected leading zero") => {
                "numbers begin with another digit; permission bits are text: \"0600\""
            }
            _ => "see https://toml.io for the syntax",
        };
        self.add(
            Severity::Error,
            String::new(),
            &Origin::File(span),
            message.to_owned(),
            vec![help.to_owned()],
        );
    }

    /// The value at `path` does not have the form it must have.
    pub(crate) fn problem(
        &self,
        path: &KeyPath,
        origin: &Origin,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.mark_unclear(path.top().unwrap_or_default());
        self.meaning(path, origin, message, help);
    }

    /// The value at `path` is well formed but cannot be meant.
    pub(crate) fn meaning(
        &self,
        path: &KeyPath,
        origin: &Origin,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let (message, help) = (message.into(), vec![help.into()]);
        self.add(Severity::Error, path.to_string(), origin, message, help);
    }

    /// The value at `path` needs thought.
    pub(crate) fn warning(
        &self,
        path: &KeyPath,
        origin: &Origin,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let (message, help) = (message.into(), vec![help.into()]);
        self.add(Severity::Warning, path.to_string(), origin, message, help);
    }

    /// Follow-up problems of this top-level table would only confuse.
    pub(crate) fn mark_unclear(&self, table: &str) {
        self.unclear.borrow_mut().push(table.to_owned());
    }

    /// See [`Report::mark_unclear`].
    pub(crate) fn is_unclear(&self, table: &str) -> bool {
        *self.is_broken.borrow() || self.unclear.borrow().iter().any(|unclear| unclear == table)
    }

    /// Problems and warnings, each in the order of the file.
    pub(crate) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(position, _)| *position);
        // A guess after an error of syntax may lead to the same error again.
        found.dedup();
        found
            .into_iter()
            .map(|(_, problem)| problem)
            .partition(|problem| problem.severity == Severity::Error)
    }

    /// `file:line`, or the flag or variable.
    pub(crate) fn described(&self, origin: &Origin) -> String {
        match origin {
            Origin::File(span) => match self.place(span) {
                Place::File { name, line, .. } => format!("{name}:{line}"),
                _ => self.name.clone(),
            },
            Origin::Environment(name) | Origin::Flag(name) => (*name).to_owned(),
            Origin::Profile(profile) => format!("profile {}", profile.name()),
            Origin::Default => "default".to_owned(),
        }
    }

    fn add(
        &self,
        severity: Severity,
        path: String,
        origin: &Origin,
        message: String,
        help: Vec<String>,
    ) {
        let (position, place) = match origin {
            Origin::File(span) => (span.start, self.place(span)),
            Origin::Flag(name) => (usize::MAX, Place::Flag(name)),
            Origin::Environment(name) => (usize::MAX, Place::Environment(name)),
            Origin::Default | Origin::Profile(_) => (usize::MAX, Place::Nowhere),
        };
        let problem = Problem {
            severity,
            path,
            place,
            message: masked(&message),
            help,
        };
        self.found.borrow_mut().push((position, problem));
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let start = floor(&self.text, span.start);
        let end = floor(&self.text, span.end).max(start);
        let (before, from) = self.text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let (_, line_before) = before.split_at(line_start);
        let line_after = from.lines().next().unwrap_or_default();
        let marked = from
            .get(..end - start)
            .and_then(|marked| marked.lines().next())
            .unwrap_or_default();
        let column = line_before.chars().count() + 1;
        Place::File {
            name: self.name.clone(),
            line: before.matches('\n').count() + 1,
            column,
            snippet: Snippet::new(line_before, line_after, marked.chars().count()),
        }
    }
}

impl Snippet {
    fn new(before: &str, after: &str, marked: usize) -> Self {
        let indent = before.chars().count();
        // A line that is too long for a screen is shown from shortly before the mark.
        let skipped = indent.saturating_sub(SHOWN_BEFORE);
        let shown_before: String = before.chars().skip(skipped).collect();
        let shown_after: String = after.chars().take(SHOWN_AFTER).collect();
        let text = format!("{shown_before}{shown_after}");
        Self {
            text: visible(masked(&text).trim_end()),
            before: indent - skipped,
            marked: marked.clamp(1, SHOWN_AFTER),
        }
    }
}

/// The nearest boundary of a character at or before `index`.
fn floor(text: &str, index: usize) -> usize {
    (0..=index.min(text.len()))
        .rev()
        .find(|&index| text.is_char_boundary(index))
        .unwrap_or(0)
}

/// One character for one, none of which moves a terminal's cursor.
fn visible(text: &str) -> String {
    let plain = |character: char| match character {
        '\t' => ' ',
        control if control.is_control() => '\u{fffd}',
        other => other,
    };
    text.chars().map(plain).collect()
}

/// Of problems, at once: a file that is something else altogether has thousands.
const SHOWN: usize = 100;
/// Of a line, in characters.
const SHOWN_BEFORE: usize = 100;
const SHOWN_AFTER: usize = 80;
