//! What a TLS connection may send: whatever it is and however it is cut, nothing panics, and the server hears
//! only what the client said, in order, and all of it where nobody meddles.
//!
//! The input's first byte says how the two speak, see [`Setting`]. Behind it are, of a client that is none, the
//! bytes that it sends; else what is done to each record of a real one, see [`meddler`].

#![no_main]

mod tls {
    pub mod meddler;
    pub mod server;
}

use std::io::{Read as _, Write as _};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, version};
use taskcast::config::TlsFiles;
use taskcast::fuzzing;

use tls::meddler::{Meddler, Script};
use tls::server::Server;

/// Made for the fuzz targets and known to everybody: for nothing else.
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/keys/certificate.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/keys/key.pem");

/// How often the two sides speak in turn at most: a handshake needs four turns.
const TURNS_MAX: usize = 64;
/// How much a client has to say: more than goes into one record.
const SAID_BYTES: usize = 40_000;

/// How the two speak: a bit each.
#[derive(Clone, Copy)]
struct Setting(u8);

impl Setting {
    fn has(self, bit: u8) -> bool {
        self.0 >> bit & 1 == 1
    }

    fn client_is_real(self) -> bool {
        self.has(0)
    }

    fn is_tls12(self) -> bool {
        self.has(1)
    }

    fn asks_for_certificates(self) -> bool {
        self.has(2)
    }

    fn shows_certificate(self) -> bool {
        self.has(3)
    }

    /// The server is one that leaves what it cannot take in the kernel.
    fn peeks(self) -> bool {
        self.has(4)
    }

    fn nobody_meddles(self) -> bool {
        self.has(5)
    }

    /// The client sends something behind its end.
    fn goes_on(self) -> bool {
        self.has(6)
    }
}

/// Without those of clients, and with.
static SERVERS: LazyLock<[Arc<ServerConfig>; 2]> = LazyLock::new(|| {
    ["", CERTIFICATE].map(|client_ca| {
        let [certificate, key, client_ca] = [CERTIFICATE, KEY, client_ca].map(str::to_owned);
        fuzzing::tls(&TlsFiles { certificate, key, client_ca }).unwrap()
    })
});

/// By [`Setting::is_tls12`], and then by [`Setting::shows_certificate`].
static CLIENTS: LazyLock<[[Arc<ClientConfig>; 2]; 2]> = LazyLock::new(|| {
    let certificate = || CertificateDer::from_pem_file(CERTIFICATE).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    [&version::TLS13, &version::TLS12].map(|version| {
        [false, true].map(|shows_certificate| {
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots.clone());
            let mut config = if shows_certificate {
                let key = PrivateKeyDer::from_pem_file(KEY).unwrap();
                config.with_client_auth_cert(vec![certificate()], key).unwrap()
            } else {
                config.with_no_client_auth()
            };
            // Each run begins anew.
            config.resumption = rustls::client::Resumption::disabled();
            Arc::new(config)
        })
    })
});

/// What a client says: no two parts of it are the same.
static SAYS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..SAID_BYTES as u32 / 4).flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_be_bytes()).collect()
});

fn server(setting: Setting) -> Server {
    let config = &SERVERS[usize::from(setting.asks_for_certificates())];
    Server::new(config.clone(), setting.peeks())
}

/// Whoever has no keys is not heard, however his bytes are cut.
fn check_bytes(setting: Setting, bytes: &[u8]) {
    let ended = |cut: usize| {
        let mut server = server(setting);
        let mut pieces = bytes.chunks(cut);
        let failed = pieces.find_map(|piece| server.hear(piece).1.err()).is_some();
        assert!(server.said.is_empty() && !server.is_established());
        failed
    };
    let whole = ended(bytes.len().max(1));
    assert_eq!(ended(1), whole);
    assert_eq!(ended(13), whole);
}

/// A real client says something, and somebody meddles with its records.
fn check_client(setting: Setting, script: &[u8]) {
    let configs = &CLIENTS[usize::from(setting.is_tls12())];
    let config = &configs[usize::from(setting.shows_certificate())];
    let name = "localhost".try_into().unwrap();
    let mut client = ClientConnection::new(config.clone(), name).unwrap();
    let mut server = server(setting);
    let mut script = Script::new(script);
    let mut meddler = Meddler::new(setting.nobody_meddles());
    let mut says = SAYS.as_slice();
    let mut is_broken = false;
    for turn in 0..TURNS_MAX {
        if !client.is_handshaking() && !says.is_empty() {
            // In the end all of it.
            let len = if turn < TURNS_MAX / 2 { script.len(80) } else { SAID_BYTES };
            let (now, later) = says.split_at(len.min(says.len()));
            client.writer().write_all(now).unwrap();
            says = later;
            if script.next() % 8 == 7 {
                client.refresh_traffic_keys().ok();
            }
            if says.is_empty() {
                client.send_close_notify();
            }
        }
        let mut sent = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sent).unwrap();
        }
        if setting.goes_on() && says.is_empty() {
            sent.extend_from_slice(b"\x17\x03\x03\0\x02no\x17\x03\x03\x47\xff");
        }
        let sent = meddler.pass_on(sent, &mut script);
        for piece in sent.chunks(script.len(64)) {
            let (answer, result) = server.hear(piece);
            let mut answer = answer.as_slice();
            while client.read_tls(&mut answer).is_ok_and(|bytes| bytes > 0) {
                is_broken |= client.process_new_packets().is_err();
            }
            if result.is_err() {
                is_broken = true;
                break;
            }
        }
        let said = &SAYS[..SAYS.len() - says.len()];
        assert!(said.starts_with(&server.said), "the server heard what nobody said");
        if is_broken {
            break;
        }
    }
    if setting.nobody_meddles() {
        assert!(!is_broken && server.is_established());
        assert!(says.is_empty() && server.said.len() == SAYS.len() && server.has_ended);
        check_answer(&mut client, &mut server);
    }
}

/// What the server says then reaches the client.
fn check_answer(client: &mut ClientConnection, server: &mut Server) {
    let answer = server.say(b"welcome");
    client.read_tls(&mut answer.as_slice()).unwrap();
    client.process_new_packets().unwrap();
    let mut heard = [0; 7];
    client.reader().read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"welcome");
}

fuzz_target!(|input: &[u8]| {
    let [setting, rest @ ..] = input else { return };
    let setting = Setting(*setting);
    if setting.client_is_real() {
        check_client(setting, rest);
    } else {
        check_bytes(setting, rest);
    }
});
