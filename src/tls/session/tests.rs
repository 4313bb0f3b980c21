//! Sessions, and clients that send what no library would.

use ::ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ResolvesServerCertUsingSni;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore};

use super::*;
use crate::config::TlsFiles;
use crate::tls::Certificates;

/// One that has no certificate.
fn session() -> Session {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let none = Arc::new(ResolvesServerCertUsingSni::new());
    Session::new(Arc::new(config.with_cert_resolver(none))).unwrap()
}

/// Where it was looked at again, the library took a second alert for a mistake of its own.
#[test]
fn what_is_wrong_is_answered_with_one_alert() {
    let (mut session, mut goes) = (session(), Vec::new());
    let mut came = *b"GET / HTTP/1.1\r\n\r\n";
    let mut take = || session.take(&mut came, &mut goes, |_| panic!("nothing was said"));
    assert!(take().is_err() && take().is_err());
    let [kind, _, _, 0, 2, fatal, _] = goes[..] else { panic!("{goes:?} is no alert") };
    assert_eq!((kind, fatal), (21, 2));
}

fn is_awaited(record_bytes: usize, left_bytes: usize) -> bool {
    let [high, low] = ((record_bytes - HEAD_BYTES) as u16).to_be_bytes();
    let mut left = vec![23, 3, 3, high, low];
    left.resize(left_bytes, 0);
    whole_records(&left) == Some(0)
}

#[test]
fn a_record_that_no_buffer_holds_is_not_waited_for() {
    let longest = PLAIN_BYTES_MAX + RECORD_BYTES_MORE;
    assert!(is_awaited(longest, HEAD_BYTES) && is_awaited(longest, longest - 1));
    for record_bytes in [longest + 1, HEAD_BYTES + PLAIN_BYTES_MAX + 2_047] {
        assert!(!is_awaited(record_bytes, HEAD_BYTES) && !is_awaited(record_bytes, longest));
    }
    assert!(!is_awaited(longest, longest), "a whole record");
}

/// What a client sends by hand, whose keys a handshake has agreed on.
struct ByHand {
    key: LessSafeKey,
    iv: Vec<u8>,
    sequence: u64,
}

impl ByHand {
    /// A record of TLS 1.3 (RFC 8446 §5.2).
    fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut sealed = [content, &[kind]].concat();
        let [high, low] = ((sealed.len() + AES_256_GCM.tag_len()) as u16).to_be_bytes();
        let head = [23, 3, 3, high, low];
        let mut nonce: [u8; 12] = self.iv[..].try_into().unwrap();
        for (byte, other) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= other;
        }
        self.sequence += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(head), &mut sealed).unwrap();
        [&head[..], &sealed].concat()
    }
}

/// A session, and a client that has shaken hands with it.
fn established() -> (Session, ByHand) {
    let path = |name: &str| format!("{}/fuzz/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    let files =
        TlsFiles { certificate: path("certificate"), key: path("key"), ..TlsFiles::default() };
    let mut session = Session::new(Certificates::new(&files).unwrap().config()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path("certificate")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_protocol_versions(&[&TLS13]).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.enable_secret_extraction = true;
    let mut client =
        ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    while client.is_handshaking() || client.wants_write() {
        let (mut came, mut goes) = (Vec::new(), Vec::new());
        client.write_tls(&mut came).unwrap();
        let taken = session.take(&mut came, &mut goes, |_| {}).unwrap();
        assert_eq!(taken.bytes, came.len());
        let mut goes = &goes[..];
        while !goes.is_empty() {
            client.read_tls(&mut goes).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    assert!(session.is_established());
    let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another suite") };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
    (session, ByHand { key, iv: iv.as_ref().to_vec(), sequence })
}

#[test]
fn what_is_sent_by_hand_is_heard() {
    let (mut session, mut client) = established();
    let (mut came, mut said) = (client.record(23, b"hello"), Vec::new());
    let taken =
        session.take(&mut came, &mut Vec::new(), |says| said.extend_from_slice(says)).unwrap();
    assert_eq!((taken.bytes, &said[..]), (came.len(), &b"hello"[..]));
    assert!(session.encrypt(b"back", &mut Vec::new()).is_ok());
}

/// The library said that less was done with than was, and panicked at what was sent next: the worker, and with
/// it the process, ended.
#[test]
fn an_empty_record_of_the_handshake_ends_a_connection_and_nothing_else() {
    // What is left then looks like the beginning of a record.
    for (kind, content) in [(23, &b"\x17\x03\x03\x3f\xff"[..]), (23, b"hello"), (21, b"\x01\x5a")] {
        let (mut session, mut client) = established();
        let mut came = [client.record(22, b""), client.record(kind, content)].concat();
        assert!(session.take(&mut came, &mut Vec::new(), |_| {}).is_err(), "{kind}");
        assert!(session.encrypt(b"more", &mut Vec::new()).is_err());
        session.end(&mut Vec::new());
        assert!(session.take(&mut came, &mut Vec::new(), |_| {}).is_err());
    }
}

/// Parts of a message of the handshake that come one by one.
#[test]
fn a_message_in_parts_ends_a_connection_and_nothing_else() {
    let (mut session, mut client) = established();
    let mut came = client.record(22, &[24, 0, 0]);
    assert!(session.take(&mut came, &mut Vec::new(), |_| {}).is_err());
    assert!(session.encrypt(b"more", &mut Vec::new()).is_err());
}
