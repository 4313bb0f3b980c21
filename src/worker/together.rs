//! The same to many sockets with TLS sessions: encrypted for each of them, then handed to the kernel at once.

use std::io::IoSlice;
use std::os::fd::AsFd as _;

use super::secured::Buffers;
use super::sockets::{Socket, Sockets};
use crate::core::fanout::Sent;
use crate::core::slots::Key;
use crate::sys::send::{Target, What};
use crate::tls::RECORD_BYTES_MORE;

/// For so many sockets at a time,
const SOCKETS_AT_ONCE: usize = 256;

/// and so many bytes: what is encrypted for them is still in the cache when it is sent.
const BYTES_AT_ONCE: usize = 512 * 1024;

impl Sockets {
    /// Sends the same to each of these sockets; the results in their order.
    pub(super) fn send_each_encrypted(
        &mut self,
        sockets: &[Key],
        slices: &[IoSlice<'_>],
        buffers: &mut Buffers,
        results: &mut Vec<Sent>,
    ) {
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let at_once = (BYTES_AT_ONCE / (bytes + RECORD_BYTES_MORE)).clamp(1, SOCKETS_AT_ONCE);
        for sockets in sockets.chunks(at_once) {
            let first = results.len();
            results.extend(sockets.iter().map(|_| Sent::Gone));
            let alone = self.send_together(sockets, slices, buffers, &mut results[first..]);
            for at in alone {
                results[first + at] = self.send_encrypted(sockets[at], slices, buffers);
            }
        }
    }

    /// Sends to one.
    pub(super) fn send_encrypted(
        &mut self,
        key: Key,
        slices: &[IoSlice<'_>],
        buffers: &mut Buffers,
    ) -> Sent {
        match self.get(key) {
            Some(Socket { stream, secured: Some(secured), .. }) => {
                secured.send(stream, slices, buffers)
            }
            // On a listener that speaks TLS, there is no other.
            _ => Sent::Gone,
        }
    }

    /// Sends to those that have nothing left of before, where all of it goes into one record. Which others
    /// there are.
    fn send_together(
        &mut self,
        sockets: &[Key],
        slices: &[IoSlice<'_>],
        buffers: &mut Buffers,
        results: &mut [Sent],
    ) -> Vec<usize> {
        if !buffers.gather(slices) {
            return (0..sockets.len()).collect();
        }
        let (mut alone, mut records) = (Vec::new(), Vec::with_capacity(sockets.len()));
        for (at, key) in sockets.iter().enumerate() {
            match self.get(*key).and_then(|socket| socket.secured.as_mut()) {
                Some(secured) if secured.is_free() => {
                    records.extend(secured.encrypt(buffers).map(|record| (at, record)));
                }
                _ => alone.push(at),
            }
        }
        let target = |(at, _): &(usize, _)| {
            let slot = sockets[*at].index();
            let socket = self.slots[slot].as_ref()?;
            Some(Target { slot: slot as u32, socket: socket.stream.as_fd() })
        };
        let targets: Vec<_> = records.iter().filter_map(target).collect();
        let own: Vec<_> =
            records.iter().map(|(_, record)| IoSlice::new(&buffers.goes[record.clone()])).collect();
        let mut sent = Vec::with_capacity(targets.len());
        self.sender.send_each(&targets, What::Own(&own), &mut sent);
        for ((at, record), sent) in records.into_iter().zip(sent) {
            if let Some(secured) = self.get(sockets[at]).and_then(|it| it.secured.as_mut()) {
                results[at] = secured.sent_with_others(sent, record, buffers);
            }
        }
        alone
    }
}
