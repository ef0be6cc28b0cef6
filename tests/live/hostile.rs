//! A server that means harm, or is none: whatever it answers, the client ends with a value or an error that names the
//! cause, and takes no more memory than what has arrived is worth.

use std::future::Future;
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zk_connect::live::{AuthInfo, Client, ConnectOptions, CreateMode, Event, LiveError, Op};
use zk_format::AclList;
use zk_format::jute::Writer;

use crate::client::run;
use crate::run::Home;

const SESSION: i64 = 0x1_0000_0001;
/// Cases at a time.
const TOGETHER: usize = 128;
const PING: i32 = -2;
const AUTH: i32 = -4;
const WATCH: i32 = -1;
const GET_CHILDREN2: i32 = 12;

/// Listens, and plays the same part on every connection until the runtime ends.
async fn serve<F, P>(part: P) -> String
where
    P: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // It ends when the client has had enough.
            tokio::spawn(part(stream));
        }
    });
    address
}

fn to(address: &str) -> ConnectOptions {
    ConnectOptions {
        hosts: vec![address.to_owned()],
        server_time_out: Duration::from_millis(500),
        connect_time_out: Duration::from_secs(1),
        request_time_out: Duration::from_secs(1),
        ..ConnectOptions::default()
    }
}

/// For connections that are good: a machine that does much else may take its time over them.
fn patiently_to(address: &str) -> ConnectOptions {
    ConnectOptions { server_time_out: Duration::from_secs(30), connect_time_out: Duration::from_mins(1), ..to(address) }
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut to = Writer::new();
    write(&mut to);
    to.into_bytes()
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&i32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

fn handshake() -> Vec<u8> {
    written(|to| {
        to.i32(0).i32(30_000).i64(SESSION).buffer(Some(&[7; 16])).bool(false);
    })
}

fn answer(xid: i32, code: i32, body: &[u8]) -> Vec<u8> {
    let head = written(|to| {
        to.i32(xid).i64(0x5_0000_0021).i32(code);
    });
    framed(&[&head[..], body].concat())
}

fn notification(path: &[u8]) -> Vec<u8> {
    let body = written(|to| {
        to.i32(3).i32(3).ustring(Some(path));
    });
    answer(WATCH, 0, &body)
}

fn stat(to: &mut Writer) {
    to.i64(1).i64(2).i64(3).i64(4).i32(5).i32(6).i32(7).i64(0).i32(2).i32(1).i64(9);
}

/// A request: its number, its opcode and its body.
async fn request(stream: &mut TcpStream) -> std::io::Result<(i32, i32, Vec<u8>)> {
    let length = usize::try_from(stream.read_i32().await?).unwrap();
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await?;
    let number = |at: usize| i32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    Ok((number(0), number(4), frame.split_off(8)))
}

async fn greet(stream: &mut TcpStream, greeting: &[u8]) -> std::io::Result<()> {
    let length = stream.read_i32().await?;
    if length == i32::from_be_bytes(*b"srvr") {
        stream.write_all(b"Zookeeper version: 3.5.10\nZxid: 0x5\nMode: standalone\nNode count: 5\n").await?;
        return Err(ErrorKind::Other.into());
    }
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut frame).await?;
    stream.write_all(greeting).await
}

/// Until the client goes.
async fn wait(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut nothing = [0; 1024];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}

/// A body with one thing wrong: cut, or with a number that is absurd.
fn mutations(body: &[u8]) -> Vec<Vec<u8>> {
    let cuts = (0..body.len()).map(|end| body[..end].to_vec());
    let absurd = [-1, -2, i32::MIN, i32::MAX, 0x00ff_ffff, 1];
    let numbers = (0..body.len().saturating_sub(3))
        .flat_map(|at| absurd.map(|number| [&body[..at], &number.to_be_bytes(), &body[at + 4..]].concat()));
    cuts.chain(numbers).collect()
}

#[test]
fn whatever_greets_is_no_server_until_it_greets_as_one() {
    let whole = handshake();
    let mut greetings: Vec<Vec<u8>> = mutations(&whole).iter().map(|body| framed(body)).collect();
    greetings.extend(mutations(&framed(&whole)));
    greetings.push(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec());
    greetings.push(b"-ERR unknown command\r\n".to_vec());
    greetings.push(vec![0; 1 << 20]);
    greetings.push([&100_000_i32.to_be_bytes()[..], &vec![1; 100_000]].concat());
    run(async {
        for together in greetings.chunks(TOGETHER) {
            join_all(together.iter().map(|greeting| async move {
                let said = Arc::new(greeting.clone());
                let address = serve(move |mut stream| {
                    let said = Arc::clone(&said);
                    async move {
                        greet(&mut stream, &said).await?;
                        stream.shutdown().await?;
                        wait(&mut stream).await
                    }
                })
                .await;
                match Client::connect(to(&address)).await {
                    // A number was changed that only the server knows.
                    Ok(client) => client.close().await,
                    Err(error) => {
                        let text = error.to_string();
                        assert!(text.contains(&address), "{text}");
                        assert!(matches!(error, LiveError::Unreachable { .. }), "{text}");
                    }
                }
            }))
            .await;
        }
    });
}

type Ask = fn(Client) -> BoxFuture<'static, Result<(), LiveError>>;

/// Each operation with an answer that a server could give.
fn operations() -> Vec<(&'static str, Ask, Vec<u8>)> {
    let world = || AclList::world();
    vec![
        (
            "getData",
            |client| async move { client.get_data(b"/a").await.map(|_| ()) }.boxed(),
            written(|to| {
                to.buffer(Some(b"ab"));
                stat(to);
            }),
        ),
        ("exists", |client| async move { client.exists(b"/a").await.map(|_| ()) }.boxed(), written(stat)),
        (
            "getACL",
            |client| async move { client.get_acl(b"/a").await.map(|_| ()) }.boxed(),
            written(|to| {
                to.raw(&world().0);
                stat(to);
            }),
        ),
        (
            "getChildren",
            |client| async move { client.get_children(b"/a").await.map(|_| ()) }.boxed(),
            written(|to| {
                to.vector(Some(2)).ustring(Some(b"x")).ustring(Some(b"y"));
                stat(to);
            }),
        ),
        (
            "multiRead",
            |client| {
                let ops = [Op::GetData { path: b"/a" }, Op::GetChildren { path: b"/a" }, Op::GetData { path: b"/b" }];
                async move { client.multi_read(&ops, 100).await.map(|_| ()) }.boxed()
            },
            written(|to| {
                to.i32(4).bool(false).i32(0).buffer(Some(b"ab"));
                stat(to);
                to.i32(8).bool(false).i32(0).vector(Some(1)).ustring(Some(b"x"));
                to.i32(-1).bool(false).i32(-101).i32(-101);
                to.i32(-1).bool(true).i32(-1);
            }),
        ),
        (
            "multi",
            |client| {
                let acl = AclList::world();
                async move {
                    let mode = CreateMode::Persistent;
                    let ops = [
                        Op::Create { path: b"/m", data: None, acl: &acl, mode },
                        Op::Check { path: b"/m", version: 0 },
                    ];
                    client.multi(&ops).await.map(|_| ())
                }
                .boxed()
            },
            written(|to| {
                to.i32(15).bool(false).i32(0).ustring(Some(b"/m"));
                stat(to);
                to.i32(13).bool(false).i32(0);
                to.i32(-1).bool(true).i32(-1);
            }),
        ),
        (
            "create",
            |client| {
                async move { client.create(b"/a", None, &AclList::world(), CreateMode::Persistent).await.map(|_| ()) }
                    .boxed()
            },
            written(|to| {
                to.ustring(Some(b"/a"));
                stat(to);
            }),
        ),
        ("setData", |client| async move { client.set_data(b"/a", None, 0).await.map(|_| ()) }.boxed(), written(stat)),
        (
            "sync",
            |client| async move { client.sync(b"").await.map(|_| ()) }.boxed(),
            written(|to| {
                to.ustring(Some(b"/"));
            }),
        ),
        (
            "whoAmI",
            |client| async move { client.who_am_i().await.map(|_| ()) }.boxed(),
            written(|to| {
                to.vector(Some(1)).ustring(Some(b"ip")).ustring(Some(b"127.0.0.1"));
            }),
        ),
    ]
}

/// Answers every request alike.
async fn answering(body: Vec<u8>) -> String {
    let body = Arc::new(body);
    serve(move |mut stream| {
        let body = Arc::clone(&body);
        async move {
            greet(&mut stream, &framed(&handshake())).await?;
            loop {
                let (number, _, _) = request(&mut stream).await?;
                stream.write_all(&answer(number, 0, &body)).await?;
            }
        }
    })
    .await
}

#[test]
fn an_answer_that_is_none_is_told_with_operation_path_and_host() {
    let (mut refused, mut taken) = (0, 0);
    run(async {
        for (name, ask, body) in operations() {
            // The whole answer is one, or the rest would prove nothing.
            let good = Client::connect(patiently_to(&answering(body.clone()).await)).await.unwrap();
            ask(good).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            for together in mutations(&body).chunks(TOGETHER) {
                let outcomes = join_all(together.iter().map(|wrong| async move {
                    let address = answering(wrong.clone()).await;
                    let client = Client::connect(patiently_to(&address)).await.unwrap();
                    let outcome = ask(client).await;
                    if let Err(error) = &outcome {
                        let text = error.to_string();
                        assert!(text.contains(name) && text.contains(&address), "{name}: {text}");
                    }
                    outcome.is_ok()
                }))
                .await;
                taken += outcomes.iter().filter(|ok| **ok).count();
                refused += outcomes.iter().filter(|ok| !**ok).count();
            }
        }
    });
    // Many a changed number is only another value.
    assert!(refused > 500 && taken > 100, "{refused} refused, {taken} taken");
}

type Frames = Box<dyn Fn(i32) -> Vec<Vec<u8>> + Send + Sync>;

/// Sends these frames when it is asked for something, and then waits.
async fn saying(frames: impl Fn(i32) -> Vec<Vec<u8>> + Send + Sync + 'static) -> String {
    let frames = Arc::new(frames);
    serve(move |mut stream| {
        let frames = Arc::clone(&frames);
        async move {
            greet(&mut stream, &framed(&handshake())).await?;
            let (number, _, _) = request(&mut stream).await?;
            for frame in frames(number) {
                stream.write_all(&frame).await?;
            }
            wait(&mut stream).await
        }
    })
    .await
}

#[test]
fn what_answers_nothing_that_was_asked_breaks_the_connection() {
    let good = operations().remove(0).2;
    let cases: Vec<(&str, Frames)> = vec![
        ("which was not sent", Box::new(|number| vec![answer(number + 1, 0, b"")])),
        ("which was not sent", Box::new(|number| vec![answer(number.wrapping_add(i32::MAX), 0, b"")])),
        ("no header", Box::new(|_| vec![framed(b"")])),
        ("no header", Box::new(|number| vec![framed(&number.to_be_bytes())])),
        ("notification cannot be read", Box::new(|_| vec![answer(WATCH, 0, b"\0\0")])),
        ("-1 bytes", Box::new(|_| vec![(-1i32).to_be_bytes().to_vec()])),
        ("2147483647 bytes", Box::new(|_| vec![i32::MAX.to_be_bytes().to_vec()])),
        // Promised, and never sent.
        ("nothing arrived", Box::new(|_| vec![(50i32 << 20).to_be_bytes().to_vec()])),
        ("nothing arrived", Box::new(|_| vec![answer(PING, 0, b"")])),
        ("nothing arrived", Box::new(|_| Vec::new())),
    ];
    run(async {
        let waiting = cases.into_iter().map(|(cause, frames)| async move {
            let client = Client::connect(to(&saying(frames).await)).await.unwrap();
            let error = client.get_data(b"/a").await.unwrap_err();
            let LiveError::Lost { operation: "getData", source, .. } = &error else { panic!("{error}") };
            assert!(source.to_string().contains(cause), "{source}, not {cause}");
        });
        join_all(waiting).await;

        // What may come in between does no harm: notifications, signs of life, answers to credentials come late.
        let address = saying(move |number| {
            let between = [answer(PING, 0, b""), notification(b"/w"), answer(AUTH, 0, b""), answer(-8, 0, b"")];
            between.into_iter().chain([answer(number, 0, &good)]).collect()
        })
        .await;
        let client = Client::connect(to(&address)).await.unwrap();
        assert_eq!(client.get_data(b"/a").await.unwrap().value.0.as_deref(), Some(&b"ab"[..]));
        let events = client.events().take();
        assert!(matches!(events.as_slice(), [Event::Watch(event)] if event.path == b"/w"), "{events:?}");
    });
}

/// Frames without end that answer nothing: the request's time runs out all the same.
#[test]
fn endless_chatter_is_no_answer() {
    run(async {
        let chatter = [answer(PING, 0, b""), notification(&[b'x'; 4000])].map(|frame| frame.repeat(8));
        let waiting = chatter.into_iter().map(|frames| async move {
            let frames = Arc::new(frames);
            let address = serve(move |mut stream| {
                let frames = Arc::clone(&frames);
                async move {
                    greet(&mut stream, &framed(&handshake())).await?;
                    loop {
                        stream.write_all(&frames).await?;
                    }
                }
            })
            .await;
            let client = Client::connect(to(&address)).await.unwrap();
            let error = client.set_data(b"/a", None, 0).await.unwrap_err();
            assert!(matches!(error, LiveError::Lost { .. }), "{error}");
            assert!(client.events().take().len() <= 1 + (32 << 20) / 4000);
        });
        join_all(waiting).await;
    });
}

/// Answers to credentials are not in the order of requests; each is waited for by its own number.
#[test]
fn credentials_are_answered_among_other_things() {
    let auth = |address: &str| ConnectOptions {
        auth: ["a:1", "b:2"].map(|secret| AuthInfo { scheme: "digest".into(), secret: secret.into() }).to_vec(),
        ..to(address)
    };
    let server = |code: i32| async move {
        serve(move |mut stream| async move {
            greet(&mut stream, &framed(&handshake())).await?;
            loop {
                let (number, opcode, _) = request(&mut stream).await?;
                stream.write_all(&answer(PING, 0, b"")).await?;
                stream.write_all(&notification(b"/early")).await?;
                let body = written(|to| {
                    to.ustring(Some(b"/"));
                });
                let code = if opcode == 100 { code } else { 0 };
                stream.write_all(&answer(number, code, &body)).await?;
            }
        })
        .await
    };
    run(async {
        let client = Client::connect(auth(&server(0).await)).await.unwrap();
        client.sync(b"").await.unwrap();
        assert_eq!(client.events().take().len(), 3);
        let refused = Client::connect(auth(&server(-115).await)).await.unwrap_err();
        assert!(matches!(refused, LiveError::AuthFailed { .. }), "{refused}");

        // An answer to a request that was not sent, where one to credentials is due.
        let address = saying(|_| vec![answer(9, 0, b"")]).await;
        let refused = Client::connect(auth(&address)).await.unwrap_err().to_string();
        assert!(refused.contains("which was not sent"), "{refused}");
    });
}

/// The memory of the program, asked to back up from servers that promise or send too much.
#[test]
fn the_program_stays_small() {
    const MOST_KIB: u64 = 1200 << 10;
    type Part = fn(TcpStream) -> BoxFuture<'static, std::io::Result<()>>;
    let parts: [(&str, Part); 2] = [
        ("a frame that is longer than any", |mut stream| {
            async move {
                greet(&mut stream, &framed(&handshake())).await?;
                stream.write_all(&i32::MAX.to_be_bytes()).await?;
                loop {
                    stream.write_all(&[0; 1 << 12]).await?;
                }
            }
            .boxed()
        }),
        ("children without names, as many as fit", |mut stream| {
            async move {
                greet(&mut stream, &framed(&handshake())).await?;
                loop {
                    let (number, opcode, _) = request(&mut stream).await?;
                    let count: i32 = if opcode == GET_CHILDREN2 { 15 << 20 } else { 0 };
                    let mut body = count.to_be_bytes().to_vec();
                    body.resize(4 + 4 * usize::try_from(count).unwrap(), 0);
                    body.extend(written(stat));
                    stream.write_all(&answer(number, 0, &body)).await?;
                }
            }
            .boxed()
        }),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for (what, part) in parts {
        let address = runtime.block_on(serve(part));
        let home = Home::new();
        let start = |line: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_zooark-under-test"));
            command.current_dir(home.path("")).env("ZOOARK_REPOSITORY", home.path("repo")).env("ZOOARK_PASSWORD", "pw");
            command.env("XDG_CACHE_HOME", home.path("cache")).args(line.split(' '));
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        assert!(start("init").wait().unwrap().success());
        let mut child = start(&format!("backup zk://{address}"));
        let mut peak = 0;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let high = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            peak = high.and_then(|high| high.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak);
            assert!(peak < MOST_KIB, "{what}: {peak} KiB");
            std::thread::sleep(Duration::from_millis(20));
        };
        println!("{what}: {peak} KiB");
        assert_eq!(status.code(), Some(1), "{what}");
    }
}
