//! What `POST /purge` answers when it is done: what was purged, and which instances know.

use http::StatusCode;
use middleware::cache::bus::{InstanceReport, Report};
use serde_json::json;

use super::reply::{self, Reply};

/// A purge that is done here.
#[derive(Debug)]
pub(super) struct Purged<'a> {
    /// What was purged, for people.
    pub(super) named: &'a str,
    pub(super) is_soft: bool,
    /// Stored responses in memory, where it is known.
    pub(super) count: Option<usize>,
    /// Whether it survives a restart.
    pub(super) is_recorded: bool,
    /// What other instances made of it, where there are any.
    pub(super) report: Option<Report>,
}

impl Purged<'_> {
    /// 200, or 202 where it is not known to be done everywhere (RFC 9110 §15.3.3).
    pub(super) fn reply(&self, wants_text: bool) -> Reply {
        let mut reply = match wants_text {
            true => reply::text(self.text()),
            false => self.json(),
        };
        if !self.is_everywhere() {
            *reply.status_mut() = StatusCode::ACCEPTED;
        }
        reply
    }

    /// Whether all instances that are known have done it.
    pub(super) fn is_everywhere(&self) -> bool {
        self.report.as_ref().is_none_or(Report::is_complete)
    }

    fn text(&self) -> String {
        let named = self.named;
        let mut text = match (self.count, self.is_soft) {
            (Some(count), _) => format!("Purged {named}: {}.\n", stored(count)),
            (None, false) => format!("Purged {named}: whatever has it is not used again.\n"),
            (None, true) => {
                format!("Purged {named}: whatever has it is validated at its next use.\n")
            }
        };
        if let Some(report) = &self.report {
            for (index, instance) in report.instances.iter().enumerate() {
                let this = if index == 0 { " (this one)" } else { "" };
                text.push_str(&format!("  {}{this}: {}\n", instance.name, state(instance)));
            }
        }
        for warning in self.warnings() {
            text.push_str(warning);
            text.push('\n');
        }
        text
    }

    fn json(&self) -> Reply {
        let mut answer =
            json!({ "purged": self.named, "soft": self.is_soft, "responses": self.count });
        if let Some(report) = &self.report {
            let each = report.instances.iter();
            let each = each.map(|it| json!({ "instance": it.name, "state": state(it) }));
            answer["instances"] = each.collect();
            answer["unreachable"] = (!report.is_told).into();
        }
        let warnings = self.warnings();
        if !warnings.is_empty() {
            answer["warning"] = json!(warnings.join(" "));
        }
        reply::json(StatusCode::OK, &answer)
    }

    fn warnings(&self) -> Vec<&'static str> {
        let is_told = self.report.as_ref().is_none_or(|report| report.is_told);
        let of_disk = (!self.is_recorded).then_some(UNRECORDED);
        let of_others = (!is_told).then_some(UNTOLD);
        of_disk.into_iter().chain(of_others).collect()
    }
}

fn state(instance: &InstanceReport) -> &'static str {
    match instance.is_acknowledged {
        Some(true) => "acknowledged",
        Some(false) => "not yet",
        None => "unknown",
    }
}

/// For people.
pub(super) fn stored(count: usize) -> String {
    let responses = if count == 1 { "response" } else { "responses" };
    format!("{count} stored {responses}")
}

const UNRECORDED: &str = "The disk does not take the purge: \
     empty the directory of cache.disk before the next start, or what was purged may come back.";
const UNTOLD: &str = "Redis does not take the purge: others may still use what was purged, until it does and they are told.";

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn answer(report: Option<Report>, wants_text: bool) -> (u16, String) {
        let purged = Purged {
            named: "tag a",
            is_soft: false,
            count: None,
            is_recorded: true,
            report,
        };
        let reply = purged.reply(wants_text);
        let status = reply.status().as_u16();
        let content = reply.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(content.to_vec()).unwrap())
    }

    fn report(is_told: bool, states: &[Option<bool>]) -> Report {
        let each = states.iter().enumerate();
        let instances = each.map(|(index, state)| InstanceReport {
            name: format!("host:{index}"),
            is_acknowledged: *state,
        });
        Report {
            instances: instances.collect(),
            is_told,
        }
    }

    #[tokio::test]
    async fn each_instance_is_named_with_what_it_has_done() {
        let all = report(true, &[Some(true), Some(true)]);
        assert_eq!(
            answer(Some(all), true).await,
            (
                200,
                "Purged tag a: whatever has it is not used again.\n  host:0 (this one): acknowledged\n  \
                 host:1: acknowledged\n"
                    .to_owned()
            )
        );
        let slow = report(true, &[Some(true), Some(false)]);
        let (status, json) = answer(Some(slow), false).await;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(status, 202);
        assert_eq!(
            json["instances"][1],
            json!({ "instance": "host:1", "state": "not yet" })
        );
        assert_eq!(json["unreachable"], false);
        let away = report(false, &[Some(true), None]);
        let (status, text) = answer(Some(away.clone()), true).await;
        assert_eq!(status, 202);
        assert!(
            text.contains("host:1: unknown\nRedis does not take the purge"),
            "{text}"
        );
        let (_, json) = answer(Some(away), false).await;
        assert!(
            json.contains("\"unreachable\": true") && json.contains("warning"),
            "{json}"
        );
        let (status, json) = answer(None, false).await;
        assert!(status == 200 && !json.contains("instances"), "{json}");
    }
}
