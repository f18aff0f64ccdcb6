//! From files, variables and flags to checked settings.

use std::path::{Path, PathBuf};

use crate::Settings;
use crate::conform::conform;
use crate::document::{Entry, Item, Origin, Table, Value, read};
use crate::print;
use crate::problem::{Problem, Problems, Report, Severity};
use crate::profile::Profile;
use crate::route::OVERRIDES;
use crate::site::Site;
use crate::written::Written;

/// What flags say; it beats the environment, which beats the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--upstream URL`: the endpoint of `[upstream.app]`.
    pub upstream: Option<String>,
    /// The URL at which the command after `--` will listen: the endpoint of `[upstream.app]`,
    /// before `upstream`.
    pub child: Option<String>,
    /// `--listen ADDRESS`, several times: instead of all `[[listen]]`.
    pub listen: Vec<String>,
    /// `--admin ADDRESS`: instead of the address in `[admin]`, whose token stays; `off` for none.
    pub admin: Option<String>,
    /// `--profile NAME`.
    pub profile: Option<String>,
    /// Whether the upstream may come with the flags of a later start: to have none is a warning
    /// then, and settings without any are only to be looked at.
    pub awaits_upstream: bool,
}

/// Settings, and what there is to say about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Checked.
    pub settings: Settings,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// What needs thought, in the order of the file.
    pub warnings: Vec<Problem>,
    written: Written,
    document: Item,
    name: String,
    text: String,
}

impl Loaded {
    /// The effective configuration as TOML, with a comment at every key that says where its value
    /// came from. There is nothing secret in it: secrets are in files that it names.
    pub fn to_toml(&self) -> String {
        let report = Report::new(&self.name, &self.text);
        print::effective(
            &self.written,
            &self.document,
            self.settings.threads,
            &report,
        )
    }

    /// Changes exactly when the effective configuration does; the same in every build.
    pub fn hash(&self) -> u64 {
        // FNV-1a: not for secrets, only to tell two configurations apart.
        let plain = print::plain(&self.written, &self.document, self.settings.threads);
        plain.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}

/// Reads the file at `path`, or the one that `PILLION_CONFIG` names, or `pillion.toml` in the
/// working directory if there is one; lays the environment and the flags over it; checks all.
///
/// `PILLION_UPSTREAM`, `PILLION_LISTEN` (several with commas), `PILLION_ADMIN` and
/// `PILLION_PROFILE` say what the flags of these names say.
pub fn load(
    path: Option<&Path>,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Problems> {
    let Some(path) = file(path, env) else {
        return load_text("", None, overrides, env);
    };
    let text = std::fs::read(&path).map_err(|error| unreadable(&path, &error.to_string()))?;
    let text = String::from_utf8(text).map_err(|_| unreadable(&path, "it is not UTF-8"))?;
    load_text(&text, Some(&path), overrides, env)
}

/// As [`load`], for text that was read already; `path` names its file.
pub fn load_text(
    text: &str,
    path: Option<&Path>,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Problems> {
    let name = path.map_or_else(String::new, |path| path.display().to_string());
    let report = Report::new(&name, text);
    let written = read(text, env, &report);
    let document = layered(written, overrides, env);
    let folder = path.and_then(Path::parent).unwrap_or(Path::new(""));
    let missing = match overrides.awaits_upstream {
        true => Severity::Warning,
        false => Severity::Error,
    };
    let checked = checked(document, folder, missing, &report);
    let (problems, warnings) = report.finish();
    match checked {
        Some((settings, written, document)) if problems.is_empty() => Ok(Loaded {
            settings,
            file: path.map(Path::to_owned),
            warnings,
            written,
            document,
            name,
            text: text.to_owned(),
        }),
        _ => Err(Problems::new(problems)),
    }
}

fn file(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let named = path.map(Path::to_owned);
    let named = named.or_else(|| set(env, "PILLION_CONFIG").map(PathBuf::from));
    let usual = Path::new(USUAL_FILE);
    named.or_else(|| usual.is_file().then(|| usual.to_owned()))
}

fn unreadable(path: &Path, reason: &str) -> Problems {
    let message = format!("cannot read the configuration {}: {reason}", path.display());
    Problems::new(vec![Problem::whole(
        message,
        "correct the path, or the file's permissions",
    )])
}

/// The profile, under the file, under the environment, under the flags.
fn layered(file: Item, overrides: &Overrides, env: &dyn Fn(&str) -> Option<String>) -> Item {
    let mut written = file;
    let listen = set(env, "PILLION_LISTEN").unwrap_or_default();
    let listen = listen
        .split(',')
        .map(str::trim)
        .filter(|address| !address.is_empty());
    Layer {
        upstream: set(env, "PILLION_UPSTREAM")
            .map(|url| (url, Origin::Environment("PILLION_UPSTREAM"))),
        listen: listen
            .map(|address| (address.to_owned(), Origin::Environment("PILLION_LISTEN")))
            .collect(),
        admin: set(env, "PILLION_ADMIN")
            .map(|address| (address, Origin::Environment("PILLION_ADMIN"))),
        profile: set(env, "PILLION_PROFILE")
            .map(|name| (name, Origin::Environment("PILLION_PROFILE"))),
    }
    .lay_over(&mut written);
    let flag = |value: &Option<String>, name| Some((value.clone()?, Origin::Flag(name)));
    Layer {
        upstream: flag(&overrides.child, CHILD).or_else(|| flag(&overrides.upstream, "--upstream")),
        listen: overrides
            .listen
            .iter()
            .map(|address| (address.clone(), Origin::Flag("--listen")))
            .collect(),
        admin: flag(&overrides.admin, "--admin"),
        profile: flag(&overrides.profile, "--profile"),
    }
    .lay_over(&mut written);
    let profile = match written.child("profile").map(|item| &item.value) {
        Some(Value::Text(name)) => Profile::named(name),
        _ => None,
    };
    let mut document = profile.map_or_else(Item::empty, Profile::tree);
    document.overlay(written);
    document
}

/// What one source of overrides says.
struct Layer {
    upstream: Option<(String, Origin)>,
    listen: Vec<(String, Origin)>,
    admin: Option<(String, Origin)>,
    profile: Option<(String, Origin)>,
}

impl Layer {
    fn lay_over(self, document: &mut Item) {
        if let Some((name, origin)) = self.profile {
            put(document, &["profile"], Value::Text(name), &origin);
        }
        if let Some((url, origin)) = self.upstream {
            // The timeouts that the file has for the app stay.
            remove(document, &["upstream", "app", "urls"]);
            put(
                document,
                &["upstream", "app", "url"],
                Value::Text(url),
                &origin,
            );
        }
        if let Some((_, origin)) = self.listen.first() {
            let origin = origin.clone();
            let listeners = self.listen.into_iter().map(|(address, origin)| {
                let mut listener = Item::new(Value::Table(Table::new()), origin.clone());
                put(&mut listener, &["address"], Value::Text(address), &origin);
                listener
            });
            put(
                document,
                &["listen"],
                Value::List(listeners.collect()),
                &origin,
            );
        }
        match self.admin {
            Some((address, origin)) if address == "off" => {
                put(
                    document,
                    &["admin", "enabled"],
                    Value::Boolean(false),
                    &origin,
                );
            }
            Some((address, origin)) => {
                // The token stays: a flag for another port must not open the door.
                remove(document, &["admin", "mode"]);
                put(
                    document,
                    &["admin", "enabled"],
                    Value::Boolean(true),
                    &origin,
                );
                put(
                    document,
                    &["admin", "address"],
                    Value::Text(address),
                    &origin,
                );
            }
            None => {}
        }
    }
}

fn put(item: &mut Item, path: &[&str], value: Value, origin: &Origin) {
    let Some((key, rest)) = path.split_first() else {
        *item = Item::new(value, origin.clone());
        return;
    };
    if item.table().is_none() {
        item.value = Value::Table(Table::new());
    }
    if let Some(table) = item.table_mut() {
        let entry = table.entry((*key).to_owned()).or_insert_with(|| Entry {
            key: origin.clone(),
            item: Item::new(Value::Table(Table::new()), origin.clone()),
        });
        put(&mut entry.item, rest, value, origin);
    }
}

fn remove(item: &mut Item, path: &[&str]) {
    match path {
        [] => {}
        [key] => {
            if let Some(table) = item.table_mut() {
                table.remove(*key);
            }
        }
        [key, rest @ ..] => {
            if let Some(entry) = item.table_mut().and_then(|table| table.get_mut(*key)) {
                remove(&mut entry.item, rest);
            }
        }
    }
}

/// Holds the document against the schema, then checks what it means. Everything that is wrong is
/// in `report`; `None` only if something is. To have no upstream is as bad as `missing` says.
fn checked(
    mut document: Item,
    folder: &Path,
    missing: Severity,
    report: &Report,
) -> Option<(Settings, Written, Item)> {
    conform(&mut document, report);
    let merged = with_overrides_filled(&document);
    let written: Written = match serde_json::from_value(merged.to_json()?) {
        Ok(written) => written,
        Err(error) => {
            // The schema and the written forms come from the same types, so this says which differ.
            let site = Site::new(report, &document, folder);
            site.problem(
                error.to_string(),
                "see `pillion schema` for what is allowed",
            );
            return None;
        }
    };
    let settings = written.check(missing, &Site::new(report, &document, folder));
    Some((settings, written, document))
}

/// Every route's tables laid over the tables of the same name.
fn with_overrides_filled(document: &Item) -> Item {
    let mut merged = document.clone();
    let routes = merged.table_mut().and_then(|table| table.get_mut("route"));
    let Some(Value::List(routes)) = routes.map(|entry| &mut entry.item.value) else {
        return merged;
    };
    for route in routes.iter_mut().filter_map(Item::table_mut) {
        for feature in OVERRIDES {
            let Some(mut whole) = document.child(feature).cloned() else {
                continue;
            };
            match route.get_mut(feature) {
                Some(entry) => {
                    whole.overlay(entry.item.clone());
                    entry.item = whole;
                }
                None => {
                    let key = whole.origin.clone();
                    route.insert(feature.to_owned(), Entry { key, item: whole });
                }
            }
        }
    }
    merged
}

/// A variable that is there and not empty.
fn set(env: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

/// Read where nobody names a file.
const USUAL_FILE: &str = "pillion.toml";
/// Names the child where a flag would be named.
const CHILD: &str = "-- COMMAND";
