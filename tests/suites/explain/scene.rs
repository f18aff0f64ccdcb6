//! One decision brought about over real sockets, from a case that changes can be applied to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Method};
use http_body::Frame;
use middleware::metrics::Exposition;
use serde_json::Value;
use tests::client::request;
use tests::{Answer, Fetched, Proxy, Seen, Upstream, fetch, reply, within};
use tokio::sync::Semaphore;

/// What is configured, what the app says, what the client asks, and in what order.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// Dotted keys of the configuration, values as TOML writes them.
    config: Vec<(String, String)>,
    pub(super) status: u16,
    answer: Vec<(String, String)>,
    /// Fields of the 304 to whoever asks whether something has changed; none answers 200.
    not_modified: Option<Vec<(String, String)>>,
    /// Fields of the answer to HEAD, where they are others.
    heads: Option<Vec<(String, String)>>,
    /// Whether a range is answered by a part.
    cuts: bool,
    length: usize,
    method: Method,
    asks: Vec<(String, String)>,
    content: &'static str,
    /// What the first request says, where there is one.
    first: Vec<(String, String)>,
    /// Where the first request goes.
    first_target: &'static str,
    way: Way,
    flips: Flip,
}

/// How the decision comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By the request alone.
    Once,
    /// A GET first, then the request this many seconds later.
    Again(u64),
    /// The same, and the app fails then.
    Failing(u64),
    /// The same at once, after a soft purge.
    SoftPurged,
    /// While another request for the same is under way for 200 ms.
    Together,
    /// While it is answered, everything is purged.
    Purged,
    /// A GET first, and while that is validated this many seconds later, another one is.
    Overtaken(u64),
    /// While the contents of two other answers are held.
    Crowded,
    /// The answer breaks off.
    BrokenOff,
    /// There is no app.
    Down,
}

/// What the client sees once the decision is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flip {
    Stored,
    Reused,
    Forwarded,
    Failure,
    Shared,
}

/// What came of a case.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Each step that `explain` told before and after the request.
    steps: Vec<Value>,
    pub(super) answer: Fetched,
    /// The answer to the same once more.
    again: Option<Fetched>,
}

impl Case {
    /// One GET that is answered 200 with these fields; the decision is flipped when it is stored.
    pub(super) fn answered(fields: &[(&str, &str)]) -> Self {
        Self {
            config: Vec::new(),
            status: 200,
            answer: owned(fields),
            not_modified: None,
            heads: None,
            cuts: false,
            length: 10,
            method: Method::GET,
            asks: Vec::new(),
            content: "",
            first: Vec::new(),
            first_target: TARGET,
            way: Way::Once,
            flips: Flip::Stored,
        }
    }

    pub(super) fn fresh() -> Self {
        Self::answered(&[("cache-control", "max-age=60")])
    }

    pub(super) fn fresh_with(name: &str, value: &str) -> Self {
        Self::answered(&[("cache-control", "max-age=60"), (name, value)])
    }

    pub(super) fn config(mut self, key: &str, value: &str) -> Self {
        self.set_key(key, value);
        self
    }

    pub(super) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(super) fn long(self, length: usize) -> Self {
        Self { length, ..self }
    }

    pub(super) fn not_modified(self, fields: &[(&str, &str)]) -> Self {
        Self {
            not_modified: Some(owned(fields)),
            ..self
        }
    }

    pub(super) fn head(self, fields: &[(&str, &str)]) -> Self {
        Self {
            heads: Some(owned(fields)),
            ..self
        }
    }

    pub(super) fn overtaken(self, seconds: u64) -> Self {
        Self {
            way: Way::Overtaken(seconds),
            ..self
        }
    }

    pub(super) fn cut(self) -> Self {
        Self { cuts: true, ..self }
    }

    pub(super) fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    pub(super) fn asked(self, fields: &[(&str, &str)]) -> Self {
        Self {
            asks: owned(fields),
            ..self
        }
    }

    pub(super) fn content(self, content: &'static str) -> Self {
        Self { content, ..self }
    }

    /// A GET with these fields first; flipped when what it brought is used again.
    pub(super) fn after(self, seconds: u64, first: &[(&str, &str)]) -> Self {
        Self {
            first: owned(first),
            way: Way::Again(seconds),
            flips: Flip::Reused,
            ..self
        }
    }

    pub(super) fn first_at(self, first_target: &'static str) -> Self {
        Self {
            first_target,
            ..self
        }
    }

    /// Flipped when the upstream is asked.
    pub(super) fn until_forwarded(self) -> Self {
        Self {
            flips: Flip::Forwarded,
            ..self
        }
    }

    /// Flipped when the answer is stored.
    pub(super) fn until_stored(self) -> Self {
        Self {
            flips: Flip::Stored,
            ..self
        }
    }

    /// The app fails then; flipped when the client sees that.
    pub(super) fn failing(self, seconds: u64) -> Self {
        Self {
            way: Way::Failing(seconds),
            flips: Flip::Failure,
            ..self
        }
    }

    pub(super) fn soft_purged(self) -> Self {
        Self {
            way: Way::SoftPurged,
            ..self
        }
    }

    pub(super) fn together(self) -> Self {
        Self {
            way: Way::Together,
            flips: Flip::Shared,
            ..self
        }
    }

    pub(super) fn purged(self) -> Self {
        Self {
            way: Way::Purged,
            ..self
        }
    }

    pub(super) fn crowded(self) -> Self {
        Self {
            way: Way::Crowded,
            flips: Flip::Reused,
            ..self
        }
    }

    pub(super) fn broken_off(self) -> Self {
        Self {
            way: Way::BrokenOff,
            ..self
        }
    }

    pub(super) fn down(self) -> Self {
        Self {
            way: Way::Down,
            ..self
        }
    }

    /// Makes a change that `explain` named, as it named it.
    pub(super) fn apply(&mut self, change: &Value) {
        let names = |key: &str| -> Vec<String> {
            let names = change[key].as_array().into_iter().flatten();
            names.map(|name| text(name).to_ascii_lowercase()).collect()
        };
        let pairs = |key: &str| -> Vec<(String, String)> {
            let pairs = change[key].as_array().into_iter().flatten();
            pairs
                .map(|pair| (text(&pair[0]).to_owned(), text(&pair[1]).to_owned()))
                .collect()
        };
        match text(&change["by"]) {
            "config" => {
                let keys = pairs("keys");
                assert!(!keys.is_empty(), "{change}");
                for (key, value) in keys {
                    self.set_key(&key, &value);
                }
            }
            "app" => {
                // What is said of a validation is said of the 304, what of a HEAD of its answer.
                let fields = self.not_modified.as_mut().or(self.heads.as_mut());
                let fields = fields.unwrap_or(&mut self.answer);
                let set = pairs("set");
                let gone = |name: &String| {
                    names("remove").contains(name)
                        || set.iter().any(|(set, _)| set.eq_ignore_ascii_case(name))
                };
                fields.retain(|(name, _)| !gone(name));
                fields.extend(set.clone());
            }
            "client" => {
                if let Some(method) = change["method"].as_str() {
                    self.method = method.parse().expect("a method");
                }
                if change["without_content"] == true {
                    self.content = "";
                }
                self.asks
                    .retain(|(name, _)| !names("remove").contains(name));
            }
            other => panic!("nobody knows how to make a change by {other}"),
        }
    }

    fn set_key(&mut self, key: &str, value: &str) {
        self.config.retain(|(known, _)| known != key);
        self.config.push((key.to_owned(), value.to_owned()));
    }

    /// Whether a request waits for another's answer for a moment only.
    fn waits_briefly(&self) -> bool {
        let wait = self
            .config
            .iter()
            .find(|(key, _)| key == "cache.collapse.wait");
        wait.is_some_and(|(_, wait)| wait.contains("ms"))
    }

    /// Whether `outcome` shows that the decision is the other one.
    pub(super) fn is_flipped(&self, outcome: &Outcome) -> bool {
        let answer = &outcome.answer;
        let told = answer.header("cache-status");
        match self.flips {
            Flip::Stored => told.starts_with("pillion") && told.contains("; stored"),
            Flip::Reused => {
                let answer = outcome.again.as_ref().unwrap_or(answer);
                answer.header("cache-status").starts_with("pillion; hit")
            }
            Flip::Forwarded => told.starts_with("pillion; fwd"),
            Flip::Failure => answer.status == 503,
            Flip::Shared => told.contains("; collapsed"),
        }
    }

    /// Brings it about in a world of its own.
    pub(super) async fn run(&self) -> Outcome {
        let stage = Stage::of(self).await;
        match self.way {
            Way::Once => stage.ask().await,
            Way::Again(seconds) | Way::Failing(seconds) => {
                let first = request(Method::GET, self.first_target, &borrowed(&self.first), "");
                stage.proxy.send(first).await;
                stage.proxy.advance(Duration::from_secs(seconds));
                stage.says.lock().expect("no panic").fails = matches!(self.way, Way::Failing(_));
                stage.ask().await
            }
            Way::SoftPurged => stage.after_soft_purge().await,
            Way::Together => stage.while_another_is_under_way().await,
            Way::Purged => stage.while_purged().await,
            Way::Overtaken(seconds) => stage.overtaken(seconds).await,
            Way::Crowded => stage.while_others_are_held().await,
            Way::BrokenOff => stage.broken_off().await,
            Way::Down => stage.without_upstream().await,
        }
    }
}

impl Outcome {
    /// The step that names `rule`.
    pub(super) fn step(&self, rule: &str) -> Option<&Value> {
        self.steps.iter().find(|step| step["rule"] == rule)
    }
}

/// What the upstream says now.
struct Says {
    case: Case,
    fails: bool,
}

/// A world for one case.
struct Stage {
    case: Case,
    upstream: Upstream,
    proxy: Proxy,
    says: Arc<Mutex<Says>>,
    /// Holds answers whose target says so.
    gate: Arc<Semaphore>,
}

impl Stage {
    async fn of(case: &Case) -> Self {
        let says = Arc::new(Mutex::new(Says {
            case: case.clone(),
            fails: false,
        }));
        let gate = Arc::new(Semaphore::new(0));
        let upstream = Upstream::start({
            let (says, gate) = (says.clone(), gate.clone());
            move |seen: Seen| {
                let answer = says.lock().expect("no panic").answer(&seen, gate.clone());
                let (gate, held) = (gate.clone(), seen.headers.contains_key("x-held"));
                async move {
                    if held {
                        gate.acquire().await.expect("open").forget();
                    }
                    answer
                }
            }
        })
        .await;
        let keys = case.config.iter();
        let keys: Vec<_> = keys
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        let toml = format!("{}\n[admin]\naddress = \"127.0.0.1:0\"", keys.join("\n"));
        let proxy = Proxy::with(&upstream, &toml).await;
        Self {
            case: case.clone(),
            upstream,
            proxy,
            says,
            gate,
        }
    }

    async fn send(
        &self,
        method: Method,
        fields: &[(String, String)],
        content: &'static str,
    ) -> Fetched {
        self.proxy
            .send(request(method, TARGET, &borrowed(fields), content))
            .await
    }

    /// The request, explained before and after.
    async fn ask(&self) -> Outcome {
        let mut steps = self.explain().await;
        let Case {
            method,
            asks,
            content,
            ..
        } = &self.case;
        let answer = self.send(method.clone(), asks, content).await;
        steps.extend(self.explain_lately(&answer.headers).await);
        steps.extend(self.explain().await);
        Outcome {
            steps,
            answer,
            again: None,
        }
    }

    async fn explain(&self) -> Vec<Value> {
        let Case {
            method,
            asks,
            content,
            ..
        } = &self.case;
        let mut ask = format!(
            "/explain?method={method}&url=http://{}{TARGET}",
            self.proxy.address
        );
        let length = ("content-length".to_owned(), content.len().to_string());
        for (name, value) in asks.iter().chain([&length]) {
            let value = value.replace('"', "%22").replace(' ', "%20");
            ask.push_str(&format!("&header={name}:{value}"));
        }
        let told = self.admin(&ask).await;
        assert_eq!(told.status, 200, "{}", told.text());
        chain(&told)
    }

    /// What is told of the request with this answer; nothing where it came to no cache.
    async fn explain_lately(&self, answer: &HeaderMap) -> Vec<Value> {
        let id = answer["x-request-id"].to_str().expect("ASCII");
        let told = self.admin(&format!("/explain?id={id}")).await;
        match told.status.as_u16() {
            404 => Vec::new(),
            200 => chain(&told),
            _ => panic!("{}", told.text()),
        }
    }

    async fn admin(&self, target: &str) -> Fetched {
        let admin = self.proxy.admin.expect("an admin listener");
        fetch(admin, request(Method::GET, target, &[], "")).await
    }

    async fn after_soft_purge(&self) -> Outcome {
        self.send(Method::GET, &self.case.first, "").await;
        let cache = &self.proxy.running().shared().cache;
        let authority = self.proxy.address.to_string();
        let (scheme, soft) = (
            middleware::facts::Scheme::Http,
            middleware::cache::Purge::Soft,
        );
        let target = TARGET.parse().expect("a target");
        assert_eq!(cache.purge_uri(scheme, &authority, &target, soft), 1);
        self.ask().await
    }

    /// Where the second waits for a moment only, it goes by itself; else it is still there after a while.
    async fn while_another_is_under_way(&self) -> Outcome {
        let held = owned(&[("x-held", "1")]);
        let first = self.send(Method::GET, &held, "");
        let second = async {
            self.upstream.wait_for(1).await;
            let answer = self.send(Method::GET, &self.case.asks, "").await;
            Outcome {
                steps: self.explain_lately(&answer.headers).await,
                answer,
                again: None,
            }
        };
        let metrics = &self.proxy.running().shared().metrics;
        let both = async {
            // Once the second goes by itself, it may be over before it is seen.
            while self.upstream.count() < 2
                && !metrics
                    .encode(Exposition::Classic)
                    .contains("pillion_http_requests_in_flight 2.0")
            {
                tokio::task::yield_now().await;
            }
        };
        let release = async {
            within("both requests", both).await;
            match self.case.waits_briefly() {
                true => self.upstream.wait_for(2).await,
                false => tokio::time::sleep(Duration::from_millis(200)).await,
            }
            self.gate.add_permits(9);
        };
        tokio::join!(first, second, release).1
    }

    async fn while_purged(&self) -> Outcome {
        let mut case = self.case.clone();
        case.asks.push(("x-held".to_owned(), "1".to_owned()));
        let purge = async {
            self.upstream.wait_for(1).await;
            self.proxy.running().shared().cache.purge_all();
            self.gate.add_permits(1);
        };
        let (answer, ()) = tokio::join!(self.send(Method::GET, &case.asks, ""), purge);
        Outcome {
            steps: self.explain_lately(&answer.headers).await,
            answer,
            again: None,
        }
    }

    async fn overtaken(&self, seconds: u64) -> Outcome {
        self.send(Method::GET, &[], "").await;
        self.proxy.advance(Duration::from_secs(seconds));
        let held = owned(&[("x-held", "1")]);
        let newer = async {
            self.upstream.wait_for(2).await;
            let alone = owned(&[("cache-control", "no-cache")]);
            let newer = self.send(Method::GET, &alone, "").await;
            assert!(newer.header("cache-status").contains("; stored"));
            self.gate.add_permits(1);
        };
        let (answer, ()) = tokio::join!(self.send(Method::GET, &held, ""), newer);
        Outcome {
            steps: self.explain_lately(&answer.headers).await,
            answer,
            again: None,
        }
    }

    async fn while_others_are_held(&self) -> Outcome {
        let open = |target: &'static str| async move {
            let ask = request(Method::GET, target, &[("x-stream", "1")], "");
            within("an answer", self.proxy.send(ask)).await
        };
        let asked = async {
            let cache = &self.proxy.running().shared().cache;
            let held = async {
                while cache.figures().filling < 2 * self.case.length as u64 {
                    tokio::task::yield_now().await;
                }
            };
            within("the others' content", held).await;
            let mut outcome = self.ask().await;
            outcome.again = Some(self.send(Method::GET, &[], "").await);
            self.gate.add_permits(9);
            outcome
        };
        tokio::join!(open("/a"), open("/b"), asked).2
    }

    async fn broken_off(&self) -> Outcome {
        let mut client = self.proxy.client().await;
        let ask = request(Method::GET, TARGET, &[("x-broken", "1")], "");
        let head = within("a head", client.send(ask)).await;
        self.gate.add_permits(1);
        let (head, content) = head.expect("a head").into_parts();
        let content = within("an end", http_body_util::BodyExt::collect(content)).await;
        assert!(content.is_err(), "it breaks off: {content:?}");
        Outcome {
            steps: self.explain_lately(&head.headers).await,
            answer: self.send(Method::GET, &[], "").await,
            again: None,
        }
    }

    async fn without_upstream(self) -> Outcome {
        let Self {
            case,
            upstream,
            proxy,
            says,
            gate,
        } = self;
        let elsewhere = Upstream::start(async |_| reply(500).empty()).await;
        let _port = upstream.close().await;
        let stage = Self {
            case,
            upstream: elsewhere,
            proxy,
            says,
            gate,
        };
        stage.ask().await
    }
}

impl Says {
    fn answer(&self, seen: &Seen, gate: Arc<Semaphore>) -> Answer {
        let case = &self.case;
        let with = |status: u16, fields: &[(String, String)]| {
            let reply = reply(status);
            fields
                .iter()
                .fold(reply, |reply, (name, value)| reply.header(name, value))
        };
        if self.fails {
            return reply(503).empty();
        }
        let asks = |name: &str| seen.headers.contains_key(name);
        if let Some(fields) = case.not_modified.as_ref().filter(|_| asks("if-none-match")) {
            return with(304, fields).empty();
        }
        if let Some(fields) = case.heads.as_ref().filter(|_| seen.method == Method::HEAD) {
            return with(200, fields).empty();
        }
        if case.cuts && asks("range") {
            let cut = [("content-range".to_owned(), "bytes 0-1/10".to_owned())];
            return with(206, &[&case.answer[..], &cut].concat()).body("01");
        }
        let content = "x".repeat(case.length);
        let answer = with(case.status, &case.answer);
        if asks("x-broken") || asks("x-stream") {
            let (pieces, answer) = answer.stream();
            let breaks = asks("x-broken");
            tokio::spawn(async move {
                let piece = Frame::data(content.into());
                pieces.send(Ok(piece)).expect("somebody reads");
                gate.acquire().await.expect("open").forget();
                if breaks {
                    let broken = std::io::Error::other("broken off");
                    pieces.send(Err(broken)).expect("somebody reads");
                }
            });
            return answer;
        }
        answer.body(content)
    }
}

fn chain(told: &Fetched) -> Vec<Value> {
    let told: Value = serde_json::from_str(told.text()).expect("JSON");
    told["chain"].as_array().expect("a chain").clone()
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let fields = fields.iter();
    fields
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    let fields = fields.iter();
    fields.map(|(name, value)| (&**name, &**value)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is text"))
}

const TARGET: &str = "/case";
