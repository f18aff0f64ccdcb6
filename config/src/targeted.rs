//! `targeted` of `[cache]`: fields that speak to caches like this one alone (RFC 9213).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::FieldName;
use crate::site::Site;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetedSettings {
    /// Lower case. The first one of an answer that says something replaces `Cache-Control` and
    /// `Expires` (RFC 9213 §2.2).
    pub fields: Vec<String>,
    /// Whether clients, and caches between them and us, get answers without these fields.
    pub strip: bool,
    /// Whether `Surrogate-Control` replaces `Cache-Control` where none of `fields` does. It is then
    /// for us alone, so clients get answers without it.
    pub surrogate_control: bool,
}

impl Default for TargetedSettings {
    fn default() -> Self {
        Self {
            fields: vec![
                "pillion-cache-control".to_owned(),
                "cdn-cache-control".to_owned(),
            ],
            strip: false,
            surrogate_control: false,
        }
    }
}

impl TargetedSettings {
    /// The fields that clients do not get.
    pub fn hidden(&self) -> impl Iterator<Item = &str> {
        let fields = self.fields.iter().filter(|_| self.strip);
        let surrogate = self.surrogate_control.then_some(SURROGATE_CONTROL);
        fields.map(String::as_str).chain(surrogate)
    }
}

/// `targeted` of `[cache]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenTargeted {
    /// The first of these that says something replaces Cache-Control and Expires.
    fields: Vec<FieldName>,
    /// Whether clients get answers without them.
    strip: bool,
    /// Whether Surrogate-Control counts, after these and before Cache-Control; clients do not get it then.
    surrogate_control: bool,
}

impl Default for WrittenTargeted {
    fn default() -> Self {
        let settings = TargetedSettings::default();
        Self {
            fields: settings.fields.into_iter().map(FieldName).collect(),
            strip: settings.strip,
            surrogate_control: settings.surrogate_control,
        }
    }
}

impl WrittenTargeted {
    pub(crate) fn check(&self, site: &Site<'_>) -> TargetedSettings {
        let fields: Vec<String> = self.fields.iter().map(ToString::to_string).collect();
        for (index, name) in fields.iter().enumerate() {
            let site = site.key("fields").index(index);
            match name.as_str() {
                SURROGATE_CONTROL => site.problem(
                    "this field is written in a form of its own",
                    "write `surrogate_control = true` instead",
                ),
                name if !name.ends_with("-cache-control") => site.problem(
                    "the names of these fields end in -Cache-Control (RFC 9213 §2)",
                    "write one like \"cdn-cache-control\"; Cache-Control itself counts always",
                ),
                _ => {}
            }
        }
        TargetedSettings {
            fields,
            strip: self.strip,
            surrogate_control: self.surrogate_control,
        }
    }
}

const SURROGATE_CONTROL: &str = "surrogate-control";
