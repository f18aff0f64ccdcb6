//! Whether a target's answers are the app's own, byte for byte.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::ask::{Answer, Question, ask};
use crate::driver::mix::Mix;
use crate::origin::Origin;
use crate::scenario::Scenario;

/// What was found of one target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Samples {
    /// The target's name.
    pub(crate) target: String,
    /// Answers that were the app's own.
    pub(crate) same: usize,
    /// Requests that the app itself answers differently each time, so that nothing can be said.
    pub(crate) varying: usize,
    /// Requests that the target had no answer for, or an error of its own.
    #[serde(default)]
    pub(crate) failed: Vec<String>,
    /// Answers that were not the app's: what, and how.
    pub(crate) different: Vec<String>,
}

/// Asks the app and the target for the same things.
pub(crate) async fn check(
    scenario: &Scenario,
    app: &Origin,
    target: &Origin,
    name: &str,
) -> Samples {
    let mut samples = Samples {
        target: name.to_owned(),
        ..Samples::default()
    };
    for question in questions(scenario) {
        let get = async |origin: &Origin| -> Result<Sample, String> {
            let http = if origin == app {
                Default::default()
            } else {
                scenario.http
            };
            Sample::of(&ask(origin, http, &question, PATIENCE).await?)
        };
        let what = format!("{} {}", question.method, question.path);
        prime(scenario, target, &question).await;
        // The app is asked before and after, to know whether it says the same twice.
        match (get(app).await, get(target).await, get(app).await) {
            (Ok(before), _, Ok(after)) if before != after => samples.varying += 1,
            (Err(_), _, _) | (_, _, Err(_)) => samples.varying += 1,
            (Ok(own), Ok(other), Ok(_)) if own == other => samples.same += 1,
            (Ok(own), Ok(other), Ok(_)) if other.status >= 500 => {
                samples
                    .failed
                    .push(format!("{what}: {}", own.against(&other)));
            }
            (Ok(own), Ok(other), Ok(_)) => {
                samples
                    .different
                    .push(format!("{what}: {}", own.against(&other)));
            }
            (Ok(_), Err(why), Ok(_)) => samples.failed.push(format!("{what}: {why}")),
        }
    }
    samples
}

/// Lets the target store what a conditional request alone would never bring it.
async fn prime(scenario: &Scenario, target: &Origin, question: &Question) {
    let conditional = |(name, _): &(String, String)| name.starts_with("if-");
    if question.headers.iter().any(conditional) {
        let mut plain = question.clone();
        plain.headers.retain(|field| !conditional(field));
        // What goes wrong here is seen in the comparison.
        ask(target, scenario.http, &plain, PATIENCE).await.ok();
    }
}

/// What is compared of an answer: what a user would see.
#[derive(Debug, PartialEq, Eq)]
struct Sample {
    status: u16,
    media_type: Option<Bytes>,
    content: Bytes,
}

impl Sample {
    fn of(answer: &Answer) -> Result<Self, String> {
        let field = |name| {
            answer
                .headers
                .get(name)
                .map(|value| Bytes::copy_from_slice(value.as_bytes()))
        };
        let coding = field(header::CONTENT_ENCODING).unwrap_or_default();
        Ok(Self {
            status: answer.status.as_u16(),
            // A 304 need not say it (RFC 9110 §15.4.5).
            media_type: field(header::CONTENT_TYPE)
                .filter(|_| answer.status != StatusCode::NOT_MODIFIED),
            content: decoded(&coding, &answer.content)?,
        })
    }

    /// How the other differs.
    fn against(&self, other: &Self) -> String {
        if self.status != other.status {
            return format!("status {} instead of {}", other.status, self.status);
        }
        if self.media_type != other.media_type {
            return format!(
                "content type {:?} instead of {:?}",
                other.media_type, self.media_type
            );
        }
        let at = self
            .content
            .iter()
            .zip(&other.content)
            .take_while(|(a, b)| a == b)
            .count();
        format!(
            "{} bytes instead of {}, the first other one at {at}",
            other.content.len(),
            self.content.len()
        )
    }
}

fn decoded(coding: &[u8], content: &Bytes) -> Result<Bytes, String> {
    let read = |reader: &mut dyn Read| {
        let mut plain = Vec::new();
        let mut bounded = reader.take(LARGEST);
        bounded
            .read_to_end(&mut plain)
            .map_err(|error| format!("broken content: {error}"))?;
        Ok(Bytes::from(plain))
    };
    match coding.to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(content.clone()),
        b"gzip" | b"x-gzip" => read(&mut flate2::read::MultiGzDecoder::new(content.as_ref())),
        b"deflate" => read(&mut flate2::read::ZlibDecoder::new(content.as_ref())),
        b"br" => read(&mut brotli::Decompressor::new(content.as_ref(), 4096)),
        b"zstd" => {
            let mut reader = zstd::stream::read::Decoder::new(content.as_ref())
                .map_err(|error| error.to_string())?;
            read(&mut reader)
        }
        other => Err(format!("unknown coding {}", String::from_utf8_lossy(other))),
    }
}

/// One request of each kind at least, some keys of each key space, none that may change the app.
fn questions(scenario: &Scenario) -> Vec<Question> {
    let mut mix = Mix::new(scenario, 1);
    let mut questions: Vec<Question> = Vec::new();
    for _ in 0..MOST * 8 {
        let question = mix.next().question;
        let known = questions
            .iter()
            .any(|other| other.path == question.path && other.content == question.content);
        let read_only = question.method.is_safe() || is_call(&question);
        if !known && read_only {
            questions.push(question);
        }
        if questions.len() >= MOST {
            break;
        }
    }
    questions
}

/// JSON-RPC is POST by its nature; a scenario that repeats a call thousands of times can bear one more.
fn is_call(question: &Question) -> bool {
    question
        .content
        .windows(9)
        .any(|part| part == b"\"jsonrpc\"")
}

const MOST: usize = 24;
const PATIENCE: Duration = Duration::from_secs(30);
const LARGEST: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_undone() {
        let plain = Bytes::from_static(b"all work and no play ");
        let mut brotli = Vec::new();
        brotli::CompressorWriter::new(&mut brotli, 4096, 5, 22)
            .write_all(&plain)
            .expect("memory takes all");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).expect("memory takes all");
        let gzip = gzip.finish().expect("memory takes all");
        let zstd = zstd::encode_all(plain.as_ref(), 1).expect("memory takes all");
        for (coding, coded) in [("br", brotli), ("gzip", gzip), ("zstd", zstd)] {
            assert_eq!(
                decoded(coding.as_bytes(), &coded.into()),
                Ok(plain.clone()),
                "{coding}"
            );
        }
        assert!(decoded(b"gzip", &plain).is_err());
        assert!(decoded(b"rot13", &plain).is_err());
    }

    #[test]
    fn differences_are_told() {
        let sample = |status, content: &'static str| Sample {
            status,
            media_type: None,
            content: Bytes::from_static(content.as_bytes()),
        };
        let own = sample(200, "abcdef");
        assert_eq!(own.against(&sample(502, "")), "status 502 instead of 200");
        assert_eq!(
            own.against(&sample(200, "abcxe")),
            "5 bytes instead of 6, the first other one at 3"
        );
    }

    use std::io::Write;
}
