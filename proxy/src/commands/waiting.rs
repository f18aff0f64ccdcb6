//! Until the app accepts connections: what is said in the meantime, and to whom nobody listens.

use std::pin::pin;
use std::time::Duration;

use config::Settings;
use proxy::upstream::Hold;
use rustix::process::Pid;
use tokio::time::{interval, sleep};
use tracing::warn;

use super::banner::upstream_url;
use super::run::App;
use super::{child, family};

/// Returns when the app behind `guard` accepts connections, and lets the requests go that came
/// early. Its end is not noticed here.
pub(crate) async fn for_child(app: &App, guard: Pid, hold: Hold) {
    let mut accepting = pin!(child::accepts(&app.transport));
    let mut looks = interval(LOOK_PAUSE);
    let mut long = pin!(sleep(LONG));
    let (mut is_elsewhere, mut is_late) = (false, false);
    loop {
        tokio::select! {
            () = &mut accepting => break,
            _ = looks.tick(), if !is_elsewhere => is_elsewhere = tell_where_it_listens(app, guard),
            () = &mut long, if !is_late => {
                is_late = true;
                warn!(
                    "The app has not accepted a connection on port {} for {} s. Should it listen \
                     elsewhere, name that: --upstream http://localhost:PORT.",
                    app.port,
                    LONG.as_secs()
                );
            }
        }
    }
    hold.release();
}

/// Whether the app was found to listen, but not where it was told to.
fn tell_where_it_listens(app: &App, guard: Pid) -> bool {
    let mut ports = family::listening_ports(guard);
    ports.remove(&app.port);
    let Some(first) = ports.first() else {
        return false;
    };
    let listed: Vec<_> = ports.iter().map(u16::to_string).collect();
    warn!(
        "The app listens on port {}, but not on {}, which it was given in PORT. Put {{port}} where \
         its command takes a port, or say where it listens: --upstream http://localhost:{first}.",
        listed.join(" and "),
        app.port,
    );
    true
}

/// Says which upstreams nobody listens at. They may still come, so this is no reason to stop.
pub(crate) async fn for_others(settings: &Settings) {
    for (name, upstream) in &settings.upstreams {
        for endpoint in &upstream.endpoints {
            if !child::connects(&endpoint.transport).await {
                warn!(
                    "Nothing accepts connections at {} (upstream \"{name}\"). Start the app, or \
                     name another address with --upstream; until then clients get 502.",
                    upstream_url(endpoint)
                );
            }
        }
    }
}

/// Between two looks for where the app listens.
const LOOK_PAUSE: Duration = Duration::from_secs(3);
/// When the longest start should be over.
const LONG: Duration = Duration::from_secs(60);
