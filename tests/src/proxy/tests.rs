use std::io::ErrorKind;

use super::*;

/// Longer than any of this takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for bytes on loopback to come if they were to come.
const MOMENT: Duration = Duration::from_millis(300);

/// A server that sends everything back, `mark` before it.
fn echo(mark: u8) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                // The client may be gone.
                stream.write_all(&[mark]).ok();
                let mut back = stream.try_clone().unwrap();
                std::io::copy(&mut stream, &mut back).ok();
                back.shutdown(Shutdown::Write).ok();
            });
        }
    });
    port
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn expect(mut stream: &TcpStream, bytes: &[u8]) {
    let mut found = vec![0; bytes.len()];
    stream.read_exact(&mut found).unwrap();
    assert_eq!(found, bytes);
}

fn is_over(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn is_silent(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(MOMENT)).unwrap();
    let silent = stream.read(&mut [0]).unwrap_err().kind() == ErrorKind::WouldBlock;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    silent
}

#[test]
fn passes_on_what_comes_and_its_end() {
    let proxy = Proxy::start(echo(b'>')).unwrap();
    let mut stream = connect(&proxy);
    let much: Vec<u8> = (0..3_000_000).map(|n| (n % 251) as u8).collect();
    let mut writing = stream.try_clone().unwrap();
    let sent = much.clone();
    let writer = thread::spawn(move || {
        writing.write_all(&sent).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut found = Vec::new();
    stream.read_to_end(&mut found).unwrap();
    writer.join().unwrap();
    assert!(found[0] == b'>' && found[1..] == much);
}

#[test]
fn delays_each_byte_and_limits_no_rate() {
    let proxy = Proxy::start(echo(b'>')).unwrap();
    let mut stream = connect(&proxy);
    expect(&stream, b">");
    proxy.set(Fault::Delay(Duration::from_millis(150)));
    let start = Instant::now();
    for _ in 0..10 {
        stream.write_all(&[1; 100_000]).unwrap();
    }
    expect(&stream, &[1; 1_000_000]);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_millis(300) * 10, "{took:?}");
}

#[test]
fn throttles() {
    let proxy = Proxy::start(echo(b'>')).unwrap();
    let mut stream = connect(&proxy);
    expect(&stream, b">");
    proxy.set(Fault::Throttle(10_000));
    let start = Instant::now();
    stream.write_all(&[1; 5000]).unwrap();
    expect(&stream, &[1; 5000]);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(400), "{took:?}");
    // A throttled connection is free again at once.
    stream.write_all(&[2; 1_000_000]).unwrap();
    proxy.set(Fault::None);
    expect(&stream, &[2; 1_000_000]);
}

#[test]
fn a_black_hole_holds_and_then_lets_go() {
    let proxy = Proxy::start(echo(b'>')).unwrap();
    let mut stream = connect(&proxy);
    expect(&stream, b">");
    proxy.set(Fault::BlackHole);
    stream.write_all(b"before").unwrap();
    let mut new = connect(&proxy);
    new.write_all(b"new").unwrap();
    assert!(is_silent(&stream) && is_silent(&new));
    proxy.set(Fault::None);
    expect(&stream, b"before");
    expect(&new, b">new");
    assert_eq!(proxy.connections(), 2);
}

#[test]
fn a_mute_server_hears_and_its_answers_come_later() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap().port()).unwrap();
    let mut client = connect(&proxy);
    let (mut server, _) = listener.accept().unwrap();
    proxy.set(Fault::Mute);
    client.write_all(b"question").unwrap();
    expect(&server, b"question");
    server.write_all(b"answer").unwrap();
    assert!(is_silent(&client));
    proxy.set(Fault::None);
    expect(&client, b"answer");
}

#[test]
fn cuts_what_is_there_and_serves_what_comes() {
    let proxy = Proxy::start(echo(b'>')).unwrap();
    let mut held = connect(&proxy);
    expect(&held, b">");
    proxy.set(Fault::BlackHole);
    held.write_all(b"held").unwrap();
    proxy.cut();
    assert!(is_over(&held));
    assert_eq!(proxy.connections(), 0);
    proxy.set(Fault::None);
    expect(&connect(&proxy), b">");
}

#[test]
fn refuses_until_told_otherwise() {
    let proxy = Proxy::start(echo(b'>')).unwrap();
    let old = connect(&proxy);
    expect(&old, b">");
    proxy.set(Fault::Refuse);
    assert!(is_over(&old) && is_over(&connect(&proxy)));
    proxy.set(Fault::None);
    expect(&connect(&proxy), b">");
}

#[test]
fn can_be_aimed_elsewhere_and_goes_away() {
    let proxy = Proxy::start(echo(b'1')).unwrap();
    let one = connect(&proxy);
    expect(&one, b"1");
    proxy.aim(echo(b'2'));
    expect(&connect(&proxy), b"2");
    let port = proxy.port();
    drop(proxy);
    assert!(is_over(&one));
    // The thread that accepts lets go of the port.
    let deadline = Instant::now() + PATIENCE;
    while TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < deadline, "the port is still taken");
        thread::yield_now();
    }
}
