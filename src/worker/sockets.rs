//! The sockets of a worker, as the fan-out sends to them.

use std::io::{self, IoSlice, Read};
use std::net::{IpAddr, Shutdown};
use std::os::fd::AsFd;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::access::Shown;
use crate::clock;
use crate::core::access::Pass;
use crate::core::fanout::{Count, Denied, Io, Sent};
use crate::core::slots::Key;
use crate::holders::Holder;
use crate::id::{StreamId, ThreadId};
use crate::metrics::{WorkerMetrics, add, subtract};
use crate::newcomer::Guest;
use crate::shared::Shared;
use crate::sys::send::{Sender, Target, What, send};
use crate::tls::{Bare, PeerCertificate};
use crate::worker::followed::Followed;
use crate::worker::secured::{Buffers, Secured};

/// What somebody is told who has as many sockets as he may.
const TOO_MANY: &str = "the token has as many connections as it may, or opens them too fast";

/// The sockets, each in its slot of the fan-out.
pub(super) struct Sockets {
    shared: Arc<Shared>,
    number: usize,
    pub(super) slots: Vec<Option<Socket>>,
    pub(super) sender: Sender,
    registry: Registry,
    /// Where the listeners speak TLS: then each socket has a session.
    buffers: Option<Box<Buffers>>,
}

/// What was read of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// So many bytes stand in the buffer.
    pub(super) bytes: usize,
    /// The other side sends no more.
    pub(super) ended: bool,
    /// There may be more, of which the kernel does not tell again.
    pub(super) more: bool,
}

pub(super) struct Socket {
    key: Key,
    pub(super) stream: TcpStream,
    /// It is among those to be read.
    queued: bool,
    /// The other side will send no more than what is there.
    hung_up: bool,
    /// Whose it is, where anybody wants to know.
    guest: Option<Box<Guest>>,
    /// Its TLS session.
    pub(super) secured: Option<Box<Secured>>,
}

impl Sockets {
    pub(super) fn new(shared: Arc<Shared>, number: usize, registry: Registry) -> io::Result<Self> {
        let sender = Sender::new(shared.config.io_uring)?;
        let secured = shared.certificates.is_some();
        let buffers = secured.then(|| Box::new(Buffers::new(shared.account.clone())));
        Ok(Self { shared, number, slots: Vec::new(), sender, registry, buffers })
    }

    /// How it sends to many sockets.
    pub(super) fn sends_by(&self) -> &'static str {
        self.sender.name()
    }

    /// A socket is to be sent to under this key.
    pub(super) fn insert(&mut self, key: Key, bare: Bare, guest: Guest) -> io::Result<()> {
        let mut stream = TcpStream::from_std(bare.socket);
        let account = &self.shared.account;
        let secured = bare.session.map(|session| Box::new(Secured::new(session, account)));
        self.sender.register(Target { slot: key.index() as u32, socket: stream.as_fd() });
        let token = Token(key.to_bits() as usize);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.registry.register(&mut stream, token, interest);
        if self.slots.len() <= key.index() {
            self.slots.resize_with(key.index() + 1, || None);
        }
        let config = &self.shared.config;
        let limits = &config.limits;
        let counts = !guest.seats.is_empty()
            || limits.subject_connections_max > 0
            || limits.subject_attaches_per_second_max > 0
            || guest.shown.is_some()
            || guest.certificate.is_some();
        let guest = (counts || config.audit).then(|| Box::new(guest));
        self.slots[key.index()] =
            Some(Socket { key, stream, queued: false, hung_up: false, guest, secured });
        registered
    }

    /// From where a socket comes, where the audit wants to know.
    pub(super) fn address_of(&mut self, key: Key) -> Option<IpAddr> {
        let is_audited = self.shared.config.audit;
        self.get(key)?.guest.as_ref().filter(|_| is_audited).map(|guest| guest.from)
    }

    /// What the application is shown of a socket, where it is asked.
    pub(super) fn shown_of(&mut self, key: Key) -> Option<Arc<Shown>> {
        self.get(key)?.guest.as_ref()?.shown.clone()
    }

    /// It is shown this from now on.
    pub(super) fn show(&mut self, key: Key, shown: Option<Arc<Shown>>) {
        if let Some(guest) = self.get(key).and_then(|socket| socket.guest.as_mut()) {
            guest.shown = shown;
        }
    }

    /// A socket is of somebody whose token it sent.
    ///
    /// # Errors
    /// He has as many as he may.
    pub(super) fn seat(&mut self, key: Key, pass: &Pass) -> Result<(), Denied> {
        let holders = self.shared.holders.clone();
        let Some(guest) = self.get(key).and_then(|socket| socket.guest.as_mut()) else {
            return Ok(());
        };
        let busy = |_| Denied::unavailable(TOO_MANY);
        let (mut seats, mut of_before): (Vec<_>, Vec<_>) =
            std::mem::take(&mut guest.seats).into_iter().partition(|seat| !seat.is_of_a_subject());
        for subject in pass.subjects().cloned().map(Holder::Subject) {
            // One that is renewed has its place already.
            if let Some(at) = of_before.iter().position(|seat| seat.is_of(&subject)) {
                seats.push(of_before.swap_remove(at));
            } else if !guest.subjects.contains(&subject) {
                holders.attach(&subject).map_err(busy)?;
                seats.extend(holders.sit(subject.clone()).map_err(busy)?);
            }
        }
        guest.seats = seats;
        guest.subjects = pass.subjects().cloned().map(Holder::Subject).collect();
        Ok(())
    }

    /// Closes a socket.
    pub(super) fn remove(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key.index()) else { return };
        let Some(mut socket) = slot.take_if(|socket| socket.key == key) else { return };
        if let Some(secured) = &mut socket.secured {
            secured.end(&socket.stream);
        }
        self.sender.forget(key.index() as u32);
        // An error leaves nothing to be done: the socket is closed with the value.
        _ = self.registry.deregister(&mut socket.stream);
    }

    /// Shuts our direction only: closing both would reset the connection if the other side has sent
    /// something, and could take our Close away from it.
    pub(super) fn shut(&mut self, key: Key) {
        if let Some(socket) = self.get(key) {
            if let Some(secured) = &mut socket.secured {
                secured.end(&socket.stream);
            }
            // An error means that it is gone.
            _ = socket.stream.shutdown(Shutdown::Write);
        }
    }

    /// Notes that a socket is to be read. Whether it was not noted already.
    pub(super) fn queue(&mut self, key: Key) -> bool {
        self.get(key).is_some_and(|socket| !std::mem::replace(&mut socket.queued, true))
    }

    /// It is its turn to be read.
    pub(super) fn unqueue(&mut self, key: Key) {
        if let Some(socket) = self.get(key) {
            socket.queued = false;
        }
    }

    /// The other side will send no more than what is there.
    pub(super) fn hang_up(&mut self, key: Key) {
        if let Some(socket) = self.get(key) {
            socket.hung_up = true;
        }
    }

    pub(super) fn is_hung_up(&mut self, key: Key) -> bool {
        self.get(key).is_some_and(|socket| socket.hung_up)
    }

    /// Reads what there is: up to a bound, or what stands in one record of TLS.
    pub(super) fn read(
        &mut self,
        key: Key,
        into: &mut Vec<u8>,
        bytes_max: usize,
    ) -> io::Result<Received> {
        let slot = self.slots.get_mut(key.index()).and_then(Option::as_mut);
        let Some(socket) = slot.filter(|socket| socket.key == key) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let (Some(secured), Some(buffers)) = (&mut socket.secured, &mut self.buffers) {
            let mut received = secured.read(&mut socket.stream, into, buffers)?;
            // What is left of a record does not come any more.
            received.ended |= socket.hung_up && received.bytes == 0;
            received.more |= socket.hung_up;
            return Ok(received);
        }
        into.resize(into.len().max(bytes_max), 0);
        loop {
            match socket.stream.read(&mut into[..bytes_max]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(bytes) => {
                    // Less than there was room for: the kernel will tell of more. But not of an end
                    // that it has told of already.
                    let more = bytes == bytes_max || socket.hung_up;
                    return Ok(Received { bytes, ended: bytes == 0, more });
                }
            }
        }
    }

    /// The kernel says that a socket takes more: what is encrypted already goes first.
    pub(super) fn flush(&mut self, key: Key) {
        if let Some(Socket { stream, secured: Some(secured), .. }) = self.get(key) {
            // Where it is broken, that is told when it is read.
            _ = secured.flush(stream);
        }
    }

    /// The certificate that the other side showed.
    pub(super) fn certificate_of(&mut self, key: Key) -> Option<Arc<PeerCertificate>> {
        self.get(key)?.guest.as_ref()?.certificate.clone()
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Socket> {
        self.slots.get_mut(key.index())?.as_mut().filter(|socket| socket.key == key)
    }

    fn metrics(&self) -> &WorkerMetrics {
        &self.shared.metrics.workers[self.number]
    }
}

impl Io for Sockets {
    type Topic = Followed;

    fn send(&mut self, key: Key, slices: &[IoSlice<'_>]) -> Sent {
        if let Some(mut buffers) = self.buffers.take() {
            let sent = self.send_encrypted(key, slices, &mut buffers);
            self.buffers = Some(buffers);
            return sent;
        }
        match self.get(key) {
            Some(socket) => told(send(socket.stream.as_fd(), slices)),
            None => Sent::Gone,
        }
    }

    fn send_each(&mut self, sockets: &[Key], slices: &[IoSlice<'_>], results: &mut Vec<Sent>) {
        if let Some(mut buffers) = self.buffers.take() {
            self.send_each_encrypted(sockets, slices, &mut buffers, results);
            self.buffers = Some(buffers);
            return;
        }
        let target = |key: &Key| {
            let socket = self.slots.get(key.index())?.as_ref()?;
            Some(Target { slot: key.index() as u32, socket: socket.stream.as_fd() })
        };
        let targets: Option<Vec<Target<'_>>> = sockets.iter().map(target).collect();
        let Some(targets) = targets else {
            return results.extend(sockets.iter().map(|socket| self.send(*socket, slices)));
        };
        let mut sent = Vec::with_capacity(targets.len());
        self.sender.send_each(&targets, What::Same(slices), &mut sent);
        results.extend(sent.into_iter().map(told));
    }

    fn join(&mut self, thread: &ThreadId) -> Followed {
        add(&self.metrics().attaches, 1);
        Followed { topic: self.shared.topics.join(thread, self.number), worker: self.number }
    }

    fn count(&mut self, what: Count, number: u64) {
        let metrics = self.metrics();
        match what {
            Count::Socket => add(&metrics.sockets, number),
            Count::SocketGone => subtract(&metrics.sockets, number),
            Count::Viewer => add(&metrics.viewers, number),
            Count::ViewerGone => subtract(&metrics.viewers, number),
            Count::Lagging => add(&metrics.lagging, number),
            Count::NotLagging => subtract(&metrics.lagging, number),
            Count::FramesSent => add(&metrics.frames_sent, number),
            Count::BytesSent => add(&metrics.bytes_sent, number),
            Count::Sends => add(&metrics.sends, number),
            Count::SendsBlocked => add(&metrics.sends_blocked, number),
            Count::PingsSent => add(&metrics.pings_sent, number),
            Count::Timeouts => add(&metrics.timeouts, number),
            Count::Stalled => {
                self.shared.account.count_refused();
                tracing::warn!("stalled_viewer_closed");
            }
        }
    }

    fn count_close(&mut self, code: u16) {
        self.metrics().count_close(code);
    }

    fn delivered(&mut self, positions: impl Iterator<Item = StreamId>, viewers: usize) {
        let (now_ms, metrics) = (clock::now_ms(), self.metrics());
        for position in positions {
            metrics.observe_age(now_ms.saturating_sub(position.ms), viewers as u64);
        }
    }
}

fn told(result: io::Result<usize>) -> Sent {
    match result {
        Ok(sent) => Sent::Bytes(sent),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::Full,
        Err(_) => Sent::Gone,
    }
}
