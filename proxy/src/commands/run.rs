//! `pillion run`: starts, watches over the app if it is a child, and stops.

use std::ffi::OsString;
use std::future::pending;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use config::upstream::Transport;
use config::{Loaded, Overrides};
use middleware::clock::Clock;
use proxy::upstream::Hold;
use proxy::{Running, admin};
use rustix::process::Signal;
use tracing::{error, info, warn};

use super::banner::Banner;
use super::child::{self, Child};
use super::signals::{Signals, code_of};
use super::{Failure, USAGE, load, waiting};

/// See the module.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The configuration [default: ./pillion.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The app: http://, https://, h2c:// or unix:PATH
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where clients connect: IP:PORT, unix:PATH or systemd:NAME; may be given several times [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Where metrics, health and purges are: IP:PORT or unix:PATH [default: 127.0.0.1:9900]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Where the defaults stand: default, aggressive or conservative
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// The app's command, started with its port in PORT and in place of {port}
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs until a signal, or the app's end.
///
/// # Errors
/// When it cannot start.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    if let Some(program) = args.command.first()
        && !child::exists(program)
    {
        return Err(Failure::new(format!(
            "There is no program {}. Check its name, or give its whole path.",
            program.display()
        ))
        .with_code(NOT_FOUND));
    }
    let (loaded, app) = configured(args)?;
    let told = admin::Told {
        effective: loaded.to_toml(),
    };
    let hash = loaded.hash();
    // The app is started by this thread, which lives as long as the process does.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("No runtime can be made ({error}).")))?;
    // Before anything is started or told: whoever sees that it runs may end it, and a disk tier that
    // writes more than the system allows is sent a signal too.
    let signals = {
        let _entered = runtime.enter();
        let listened = if app.is_some() { WITH_APP } else { ALONE };
        Signals::listen(listened.iter().copied())
            .map_err(|error| Failure::new(format!("Signals cannot be listened to ({error}).")))?
    };
    let (settings, clock) = (loaded.settings, Clock::system());
    let started = match app {
        Some(_) => {
            proxy::start_holding(settings, clock, APP).map(|(running, hold)| (running, Some(hold)))
        }
        None => proxy::start(settings, clock).map(|running| (running, None)),
    };
    let (mut running, hold) = started.map_err(Failure::start)?;
    running.shared().metrics.set_config_hash(hash);
    let admin = admin::open(&mut running, told).map_err(Failure::start)?;
    let banner = Banner {
        bound: running.addresses(),
        admin: admin.as_ref(),
        settings: running.settings(),
        app: app.as_ref().map(App::written),
        file: loaded.file.as_deref(),
    };
    eprintln!("{banner}");
    let code = runtime.block_on(supervise(running, app, hold, signals));
    // A name that is being resolved is not worth waiting for.
    runtime.shutdown_background();
    code.map(ExitCode::from)
}

/// The app that is a child.
#[derive(Debug)]
pub(crate) struct App {
    command: Vec<OsString>,
    /// What it is given in PORT.
    pub(crate) port: u16,
    /// Where it is expected.
    pub(crate) transport: Transport,
}

impl App {
    /// The command as a shell would take it.
    fn written(&self) -> String {
        let words = self
            .command
            .iter()
            .map(|word| quoted(&word.to_string_lossy()));
        words.collect::<Vec<_>>().join(" ")
    }
}

/// `word` as a shell takes it for one.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "_-+=:,./@%{}".contains(char);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The settings, and what is to be started.
fn configured(args: &Args) -> Result<(Loaded, Option<App>), Failure> {
    let mut flags = Overrides {
        upstream: args.upstream.clone(),
        listen: args.listen.clone(),
        admin: args.admin.clone(),
        profile: args.profile.clone(),
        ..Overrides::default()
    };
    if args.command.is_empty() {
        let loaded = load::load(args.config.as_deref(), &flags)?;
        return Ok((loaded, None));
    }
    let free_port = || {
        child::free_port().map_err(|error| {
            Failure::new(format!(
                "No port is free for the app ({error}). \
                 Name one that it listens on: --upstream http://localhost:3000."
            ))
        })
    };
    if flags.upstream.is_none() {
        // Not 127.0.0.1: many development servers listen on ::1 alone.
        flags.child = Some(format!("http://localhost:{}", free_port()?));
    }
    let loaded = load::load(args.config.as_deref(), &flags)?;
    let upstream = loaded.settings.upstreams.get(APP);
    let endpoint = upstream.and_then(|upstream| upstream.endpoints.first());
    let transport = match endpoint {
        Some(endpoint) => endpoint.transport.clone(),
        None => {
            let message = "The app to start has no address. Name it with --upstream.";
            return Err(Failure::new(message).with_code(USAGE));
        }
    };
    let port = match &transport {
        Transport::Tcp { port, .. } => *port,
        Transport::Unix(_) => free_port()?,
    };
    let app = App {
        command: args.command.clone(),
        port,
        transport,
    };
    Ok((loaded, Some(app)))
}

/// From the first request to the last. Gives the process's exit code.
async fn supervise(
    running: Running,
    app: Option<App>,
    hold: Option<Hold>,
    mut signals: Signals,
) -> Result<u8, Failure> {
    let (settings, readiness) = (running.settings().clone(), running.readiness());
    let clock = running.shared().clock.clone();
    let begun = clock.now().mono;
    let mut child = None;
    let early = match (&app, hold) {
        (Some(app), Some(hold)) => {
            let started = child.insert(start(app)?);
            Some((app, started.guard(), hold))
        }
        _ => {
            readiness.announce_ready();
            None
        }
    };
    let mut getting_ready = pin!(async {
        match early {
            Some((app, guard, hold)) => waiting::for_child(app, guard, hold).await,
            None => waiting::for_others(&settings).await,
        }
    });
    let mut is_ready = false;
    let ended = loop {
        tokio::select! {
            // In this order: a signal from the terminal ends the app as well, and counts as the cause.
            biased;
            signal = signals.next() => match signal {
                Signal::TERM | Signal::INT => break None,
                other => obey(other, &running, child.as_ref()),
            },
            code = ended(&mut child) => break Some(code),
            () = &mut getting_ready, if !is_ready => {
                is_ready = true;
                readiness.announce_ready();
                if child.is_some() {
                    let took = clock.now().mono - begun;
                    info!("The app accepts connections, {took:.1?} after its start.");
                }
            }
        }
    };
    if let (Some(app), Some(code)) = (&app, ended) {
        tell_end(app, code, is_ready);
    }
    match (finish(running, &mut signals).await, child, ended) {
        (Some(again), child, _) => {
            // The guard hears this once more when we are gone, and then waits no longer.
            child.inspect(|child| child.tell(Signal::TERM));
            Ok(code_of(again))
        }
        (None, _, Some(code)) => Ok(code),
        (None, None, None) => Ok(0),
        (None, Some(child), None) => Ok(end_child(child, &mut signals).await),
    }
}

fn start(app: &App) -> Result<Child, Failure> {
    Child::start(&app.command, app.port).map_err(|error| {
        Failure::new(format!(
            "The app cannot be started ({error}). Start it by itself, and Pillion with --upstream URL."
        ))
    })
}

async fn ended(child: &mut Option<Child>) -> u8 {
    match child {
        Some(child) => child.ended().await,
        None => pending().await,
    }
}

/// Every signal but those that ask for an end.
fn obey(signal: Signal, running: &Running, child: Option<&Child>) {
    match signal {
        Signal::HUP => {
            info!("SIGHUP: reloading is not supported; restart to read a new configuration.")
        }
        Signal::USR1 => {
            running.shared().access_log.reopen();
            info!("SIGUSR1: the access log's file was opened again.");
        }
        // A write went beyond what the system allows this process, and failed for that.
        Signal::XFSZ => {}
        other => {
            child.inspect(|child| child.tell(other));
        }
    }
}

/// Says that the app has ended of its own accord, and what to do if that was too early.
fn tell_end(app: &App, code: u8, was_ready: bool) {
    let port = app.port;
    let command = app.written().replace("{port}", &port.to_string());
    match (was_ready, code) {
        (true, _) => info!("The app has ended with code {code}, and so does Pillion."),
        (false, 0) => error!(
            "The app ended before it accepted a connection on port {port}, and with code 0. Should it have \
             gone to the background, start it in the foreground, or by itself and Pillion with --upstream URL."
        ),
        (false, _) => error!(
            "The app ended with code {code} before it accepted a connection on port {port}. Run it \
             by itself to see why: PORT={port} {command}"
        ),
    }
}

/// Stops serving, with care. Gives the second signal if one came in the meantime.
async fn finish(running: Running, signals: &mut Signals) -> Option<Signal> {
    info!("Stopping: what is in flight is finished first; a second signal ends it at once.");
    tokio::select! {
        stopped = running.stop() => {
            if !stopped.drained {
                warn!("What was still in flight after {:.1?} was cut off.", stopped.took);
            }
            None
        }
        again = signals.next_stop() => Some(again),
    }
}

/// Ends the app, for which nothing is in flight any more.
async fn end_child(mut child: Child, signals: &mut Signals) -> u8 {
    child.tell(Signal::TERM);
    loop {
        tokio::select! {
            code = child.ended() => return after_stop(code),
            // To the guard, the second one means: at once.
            _ = signals.next_stop() => child.tell(Signal::TERM),
        }
    }
}

/// An app that ended because it was asked to is a success, and so is the whole; one that had
/// something else to say is heard.
fn after_stop(code: u8) -> u8 {
    let asked = [Signal::TERM, Signal::INT].map(code_of);
    if asked.contains(&code) { 0 } else { code }
}

/// Listened to without an app. The last would end the process.
const ALONE: &[Signal] = &[
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::USR1,
    Signal::XFSZ,
];
/// Listened to with one: the last two are for it.
const WITH_APP: &[Signal] = &[
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::USR1,
    Signal::XFSZ,
    Signal::USR2,
    Signal::QUIT,
];
/// The upstream that `--upstream`, or the child, is.
const APP: &str = "app";
/// The code of a shell for a command that is not there.
const NOT_FOUND: u8 = 127;

#[cfg(test)]
mod tests {
    use super::{after_stop, quoted};

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("--bind=127.0.0.1:{port}"), "--bind=127.0.0.1:{port}");
        assert_eq!(
            quoted("import sys; exit('3')"),
            r"'import sys; exit('\''3'\'')'"
        );
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn an_app_that_was_asked_to_end_is_a_success() {
        assert_eq!(after_stop(0), 0);
        assert_eq!(after_stop(143), 0);
        assert_eq!(after_stop(130), 0);
        assert_eq!(after_stop(3), 3);
        assert_eq!(after_stop(137), 137);
    }
}
