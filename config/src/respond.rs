//! `[respond]`: pages shown instead of the built-in problem document.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::site::Site;
use crate::units::FilePath;

/// Error pages by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RespondSettings {
    /// HTML files for 502, 503 and 504, sent to clients that accept HTML.
    pub pages: BTreeMap<u16, PathBuf>,
}

/// `[respond]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenRespond {
    /// HTML files, for clients that accept HTML; all others get `application/problem+json`.
    pages: WrittenPages,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct WrittenPages {
    /// The upstream's answer cannot be used.
    #[serde(rename = "502", skip_serializing_if = "Option::is_none")]
    bad_gateway: Option<FilePath>,
    /// The upstream cannot be reached, or has no room.
    #[serde(rename = "503", skip_serializing_if = "Option::is_none")]
    unavailable: Option<FilePath>,
    /// The upstream did not answer in time.
    #[serde(rename = "504", skip_serializing_if = "Option::is_none")]
    timeout: Option<FilePath>,
}

impl WrittenRespond {
    pub(crate) fn check(&self, site: &Site<'_>) -> RespondSettings {
        let pages = [
            (502, &self.pages.bad_gateway),
            (503, &self.pages.unavailable),
            (504, &self.pages.timeout),
        ];
        let page = |(status, page): (u16, &Option<FilePath>)| {
            let site = site.key("pages").key(&status.to_string());
            Some((status, site.existing_file(page.as_ref()?)))
        };
        RespondSettings {
            pages: pages.into_iter().filter_map(page).collect(),
        }
    }
}
