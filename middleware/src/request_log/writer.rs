//! The thread that writes lines, so that no request waits for a disk or a terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use config::request_log::{LogFormat, LogTarget, RequestLogSettings};
use http::StatusCode;
use xxhash_rust::xxh3::xxh3_64;

use super::record::Record;
use super::{Ending, line};
use crate::facts::RequestId;
use crate::metrics::{Event, Metrics};

/// Where access lines go; one for the whole program. Writing never blocks a request: when the writer
/// cannot follow, lines are lost and counted.
///
/// The last handle to be dropped waits (for two seconds at most) until what was entered is written.
#[derive(Clone, Debug)]
pub struct AccessLog(Option<Arc<Desk>>);

/// The near end of the writer's thread.
#[derive(Debug)]
struct Desk {
    queue: SyncSender<Message>,
    /// Asks for the file to be opened again; beside the queue, which may be full.
    wants_reopening: Arc<AtomicBool>,
    /// The part of successes that is logged.
    sample: f64,
    metrics: Metrics,
    /// Taken when it is waited for.
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    /// Boxed, for the queue keeps room for its longest.
    Line(Box<Record>),
    /// Nothing but a reason to look up.
    Wake,
    /// Answered when all that came before is written.
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Opens the log and starts its writer. Lines that are lost are counted in `metrics`.
    ///
    /// # Errors
    /// When the file cannot be opened, or the thread not be started.
    pub fn open(settings: &RequestLogSettings, metrics: &Metrics) -> io::Result<Self> {
        if !settings.enabled {
            return Ok(Self(None));
        }
        let target = match &settings.target {
            LogTarget::Stdout => Target::Stdout,
            LogTarget::File(path) => Target::File(path.clone(), open_file(path)?),
        };
        Self::start(settings, target, metrics)
    }

    pub(super) fn start(
        settings: &RequestLogSettings,
        target: Target,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let (queue, incoming) = mpsc::sync_channel(QUEUE);
        let wants_reopening = Arc::<AtomicBool>::default();
        let writer = Writer {
            incoming,
            target,
            format: settings.format,
            wants_reopening: wants_reopening.clone(),
            metrics: metrics.clone(),
            lines: Vec::new(),
            pending: 0,
        };
        let thread = thread::Builder::new()
            .name(String::from("request-log"))
            .spawn(move || writer.run())?;
        Ok(Self(Some(Arc::new(Desk {
            queue,
            wants_reopening,
            sample: settings.sample,
            metrics: metrics.clone(),
            thread: Mutex::new(Some(thread)),
        }))))
    }

    /// Opens the file again (SIGUSR1), after it was moved away. What was entered before may still
    /// go to the old one.
    pub fn reopen(&self) {
        if let Some(desk) = &self.0 {
            desk.wants_reopening.store(true, Ordering::Release);
            // A full queue needs no waking.
            desk.queue.try_send(Message::Wake).ok();
        }
    }

    /// Waits until all lines that were entered are written, for two seconds at most; for the end of
    /// the program. Blocks the thread. The log goes on to take lines.
    pub fn flush(&self) {
        if let Some(desk) = &self.0 {
            desk.flush();
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Whether there is to be a line. Failures always have one; successes are chosen by name, so that
    /// one request has lines at every proxy or at none.
    pub(super) fn is_wanted(&self, status: StatusCode, ending: Ending, id: &RequestId) -> bool {
        let Some(desk) = &self.0 else {
            return false;
        };
        status.as_u16() >= 400
            || ending != Ending::Complete
            || desk.sample >= 1.0
            || position(id) < desk.sample
    }

    pub(super) fn write(&self, record: Record) {
        let Some(desk) = &self.0 else {
            return;
        };
        let line = Message::Line(Box::new(record));
        if desk.queue.try_send(line).is_err() {
            desk.metrics.count(Event::LogLineLost);
        }
    }
}

impl Desk {
    fn flush(&self) {
        let (answer, written) = mpsc::sync_channel(1);
        let mut question = Message::Flush(answer);
        // A queue that stays full has a writer that is stuck: on a terminal, most likely.
        for _ in 0..PATIENCE.as_millis() / BREATH.as_millis() {
            match self.queue.try_send(question) {
                Ok(()) => {
                    written.recv_timeout(PATIENCE).ok();
                    return;
                }
                Err(TrySendError::Full(again)) => question = again,
                Err(TrySendError::Disconnected(_)) => return,
            }
            thread::sleep(BREATH);
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.flush();
        // The queue's near end goes with us, and the thread with it: nobody needs to wait for that.
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        drop(thread.take());
    }
}

/// 0 ≤ position < 1, evenly.
fn position(id: &RequestId) -> f64 {
    let hash = match id {
        RequestId::Made(id) => xxh3_64(id.map(u64::to_le_bytes).as_flattened()),
        RequestId::Kept(id) => xxh3_64(id.as_bytes()),
    };
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// What the thread writes to.
pub(super) enum Target {
    Stdout,
    File(PathBuf, File),
    /// What a test reads.
    #[cfg(test)]
    Other(Box<dyn Write + Send>),
}

struct Writer {
    incoming: Receiver<Message>,
    target: Target,
    format: LogFormat,
    wants_reopening: Arc<AtomicBool>,
    metrics: Metrics,
    /// Formatted, not yet written.
    lines: Vec<u8>,
    /// How many those are.
    pending: u64,
}

impl Writer {
    /// Sleeps between batches instead of waiting at the queue: a thread that waits there must be
    /// woken by a system call of the core that serves.
    fn run(mut self) {
        while let Ok(message) = self.incoming.recv() {
            self.take(message);
            let mut is_busy = true;
            while is_busy {
                thread::sleep(BREATH);
                is_busy = false;
                loop {
                    match self.incoming.try_recv() {
                        Ok(message) => {
                            is_busy = true;
                            self.take(message);
                        }
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => {
                            self.write_out();
                            return;
                        }
                    }
                }
                self.write_out();
            }
        }
    }

    fn take(&mut self, message: Message) {
        if self.wants_reopening.swap(false, Ordering::Acquire) {
            self.write_out();
            self.reopen();
        }
        match message {
            Message::Line(record) => {
                line::write(&mut self.lines, self.format, &record);
                self.pending += 1;
                if self.lines.len() >= BATCH {
                    self.write_out();
                }
            }
            Message::Wake => {}
            Message::Flush(answer) => {
                self.write_out();
                // Whoever asked may have lost patience.
                answer.try_send(()).ok();
            }
        }
    }

    fn write_out(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let written = match &mut self.target {
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&self.lines).and_then(|()| stdout.flush())
            }
            Target::File(_, file) => file.write_all(&self.lines),
            #[cfg(test)]
            Target::Other(other) => other.write_all(&self.lines),
        };
        if written.is_err() {
            // Telling of it would most likely fail as well; the metric shows it.
            self.metrics.add(Event::LogLineLost, self.pending);
        }
        self.lines.clear();
        self.lines.shrink_to(BATCH);
        self.pending = 0;
    }

    fn reopen(&mut self) {
        if let Target::File(path, file) = &mut self.target {
            match open_file(path) {
                Ok(new) => *file = new,
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "Request log not opened again; the old file stays in use.");
                }
            }
        }
    }
}

fn open_file(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Lines that may wait: about what a core answers while the writer sleeps some ten times.
const QUEUE: usize = 8192;
/// Bytes that are written at once.
const BATCH: usize = 64 << 10;
/// How long lines gather.
const BREATH: Duration = Duration::from_millis(5);
/// What the end of the program waits for a writer that is stuck.
const PATIENCE: Duration = Duration::from_secs(2);
