//! One server: its breaker, and a connection to it for each thread that asks.
//!
//! Each core's runtime has one thread, and a connection is read by the runtime that opened it, so an
//! answer never crosses threads. A connection that was late once, or broke, is given up, and no
//! request opens another before the probe has found the server well ([`Node::revive`]): so a server
//! that stands still costs one deadline for each connection, and then nothing.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, ThreadId};

use config::redis::RedisAddress;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::breaker::{Breaker, Standing};
use super::connect::{Connection, Dialer, Peer};
use super::failure::Failure;
use super::reads::{MOST, Wish, Wished, Wishes};

/// See the module.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: RedisAddress,
    pub(super) breaker: Breaker,
    /// How often the probe found it well after something was wrong; written by the probe alone.
    revivals: AtomicU64,
    /// Wakes the probe.
    pub(super) trouble: Notify,
    /// One for each thread that ever asked: cores, and few others.
    links: RwLock<Vec<(ThreadId, Arc<Link>)>>,
}

/// The connection of one thread, and what is to be read on it.
#[derive(Debug, Default)]
pub(super) struct Link {
    state: Mutex<LinkState>,
    wishes: Mutex<Wishes>,
}

impl Link {
    /// Adds a record that is wanted.
    pub(super) fn wish(&self, wish: Wish) -> Wished {
        let mut wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let Wishes { waiting, has_task } = &mut *wishes;
        waiting.push(wish);
        if waiting.len() >= MOST {
            return Wished::Enough(mem::take(waiting));
        }
        match mem::replace(has_task, true) {
            true => Wished::Waits,
            false => Wished::First,
        }
    }

    /// Takes all that is wanted by now, and not yet asked for: the task does that there is one for.
    pub(super) fn take_wishes(&self) -> Vec<Wish> {
        let mut wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *wishes).waiting
    }

    /// Writes what was asked for on its connection by now.
    pub(super) fn push(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let LinkState::Open(connection) = &*state {
            let connection = connection.clone();
            drop(state);
            connection.push();
        }
    }
}

#[derive(Clone, Debug, Default)]
enum LinkState {
    /// Nobody has asked yet.
    #[default]
    Vacant,
    /// A task opens it; whoever asks meanwhile waits for that.
    Opening(watch::Receiver<Option<Result<Connection, Failure>>>),
    Open(Connection),
    /// Given up at this many revivals.
    Lost(u64),
}

thread_local! {
    /// Asking for it anew takes a handle of the thread each time.
    static ME: ThreadId = thread::current().id();
}

impl Node {
    pub(super) fn new(address: RedisAddress) -> Self {
        Self {
            address,
            breaker: Breaker::new(),
            revivals: AtomicU64::new(0),
            trouble: Notify::new(),
            links: RwLock::default(),
        }
    }

    /// The connection of this thread; opened now if there was none, which is waited for no longer than
    /// a connection may take.
    pub(super) async fn connection(
        self: &Arc<Self>,
        dialer: &Arc<Dialer>,
    ) -> Result<Connection, Failure> {
        if self.breaker.standing() == Standing::Open {
            return Err(Failure::away());
        }
        let link = self.link();
        let mut opening = {
            let mut state = link.state.lock().unwrap_or_else(PoisonError::into_inner);
            match &*state {
                LinkState::Open(connection) if !connection.is_closed() => {
                    return Ok(connection.clone());
                }
                LinkState::Lost(at) if *at == self.revivals.load(Ordering::Acquire) => {
                    return Err(Failure::away());
                }
                LinkState::Opening(opening) => opening.clone(),
                LinkState::Vacant | LinkState::Open(_) | LinkState::Lost(_) => {
                    let opening = self.open(dialer, &link);
                    *state = LinkState::Opening(opening.clone());
                    opening
                }
            }
        };
        let opened = timeout(dialer.deadline(), opening.wait_for(Option::is_some)).await;
        match opened {
            Ok(Ok(result)) => result.clone().unwrap_or_else(|| Err(Failure::late())),
            // The task that opened it is gone with its runtime.
            Ok(Err(_)) => {
                *link.state.lock().unwrap_or_else(PoisonError::into_inner) = LinkState::Vacant;
                Err(Failure::away())
            }
            Err(_) => {
                // The task's own deadline is a moment later: until then it is not waited for again.
                let mut state = link.state.lock().unwrap_or_else(PoisonError::into_inner);
                if matches!(&*state, LinkState::Opening(_)) {
                    *state = LinkState::Lost(self.revivals.load(Ordering::Acquire));
                }
                Err(Failure::late())
            }
        }
    }

    /// Takes note of how an operation of this thread went. Whether that has opened the breaker.
    pub(super) fn note<T>(&self, result: &Result<T, Failure>) -> bool {
        match result {
            Err(failure) if failure.is_outage() => {
                self.lose();
                self.trouble.notify_one();
                self.breaker.failed()
            }
            // What was not sent says nothing.
            Err(failure) if *failure == Failure::away() => false,
            _ => {
                self.breaker.succeeded();
                false
            }
        }
    }

    /// The server is well: whoever gave up a connection may open another.
    pub(super) fn revive(&self) {
        self.revivals.fetch_add(1, Ordering::Release);
    }

    /// Closes the connections of all threads, for a node that is one no more.
    pub(super) fn retire(&self) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.clear();
    }

    /// What this thread has of it.
    pub(super) fn link(&self) -> Arc<Link> {
        let me = ME.with(|me| *me);
        let mine = |links: &[(ThreadId, Arc<Link>)]| {
            let found = links.iter().find(|(thread, _)| *thread == me);
            found.map(|(_, link)| link.clone())
        };
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = mine(&links) {
            return link;
        }
        drop(links);
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        mine(&links).unwrap_or_else(|| {
            let link = Arc::<Link>::default();
            links.push((me, link.clone()));
            link
        })
    }

    /// Starts the task that opens the connection of `link`.
    fn open(
        self: &Arc<Self>,
        dialer: &Arc<Dialer>,
        link: &Arc<Link>,
    ) -> watch::Receiver<Option<Result<Connection, Failure>>> {
        let (opened, opening) = watch::channel(None);
        let (node, link, dialing) = (self.clone(), link.clone(), dialer.clone());
        dialer.tasks().spawn(async move {
            let result = dialing.dial(&node.address, Peer::Server).await;
            let state = match &result {
                Ok(connection) => LinkState::Open(connection.clone()),
                Err(_) => LinkState::Lost(node.revivals.load(Ordering::Acquire)),
            };
            *link.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
            opened.send_replace(Some(result));
        });
        opening
    }

    /// Gives up the connection of this thread.
    fn lose(&self) {
        let link = self.link();
        let mut state = link.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(&*state, LinkState::Opening(_) | LinkState::Lost(_)) {
            *state = LinkState::Lost(self.revivals.load(Ordering::Acquire));
        }
    }
}
