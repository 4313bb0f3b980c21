//! What the kernel still holds of what was written to a socket.

use std::os::fd::AsFd;

/// Bytes that the other side has not acknowledged yet.
#[allow(unsafe_code, reason = "no safe crate asks for SIOCOUTQ")]
pub(crate) fn bytes(socket: &impl AsFd) -> usize {
    use std::os::fd::AsRawFd;
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed for the call, and TIOCOUTQ (the same number as SIOCOUTQ)
    // writes one integer to the address, which lives until it returns.
    let asked = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if asked == 0 { usize::try_from(bytes).unwrap_or_default() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::bytes;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_is_taken_is_not_unsent_any_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut reader, _) = listener.accept().unwrap();
        assert_eq!(bytes(&writer), 0);
        writer.set_nonblocking(true).unwrap();
        let (chunk, mut written) = ([0; 65536], 0);
        while let Ok(count) = writer.write(&chunk) {
            written += count;
        }
        let held = bytes(&writer);
        assert!(held > 0);
        let mut sink = vec![0; written];
        reader.read_exact(&mut sink).unwrap();
        // The last acknowledgement may be on its way.
        while bytes(&writer) > 0 {
            std::thread::yield_now();
        }
    }
}
