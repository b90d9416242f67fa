//! The public listener's connections: each for as long as it asks, and no longer.

use std::{net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{
    places::{Place, Places},
    rate::Address,
    stall::StallLimited,
    stopped,
};

/// From the beginning of a connection, or the end of an answer, to the end of the next request's head. A connection that
/// says nothing has that long as well.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// A client that may ask.
pub(super) struct Connection<S> {
    /// Its requests.
    pub(super) stream: S,
    /// Where it comes from.
    pub(super) from: SocketAddr,
    /// Its right to be there.
    pub(super) place: Place,
}

/// Gives out connections.
pub(super) trait Accept: Send + 'static {
    /// What a request is read from.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one. Nothing is lost if nobody waits for the end.
    fn accept(&mut self) -> impl Future<Output = Connection<Self::Stream>> + Send;
}

/// HTTP in the clear.
pub(super) struct PlainListener {
    /// What listens.
    pub(super) tcp: TcpListener,
    /// Connections that there may be.
    pub(super) places: Places,
    /// How long a client may leave what is sent to it.
    pub(super) stall: Duration,
}

impl Accept for PlainListener {
    type Stream = StallLimited<TcpStream>;

    async fn accept(&mut self) -> Connection<Self::Stream> {
        accept(&mut self.tcp, &self.places, self.stall).await
    }
}

/// The next connection for which there is a place. The others are closed. Below TLS, whose own buffer hides whether the
/// client takes anything, the limit sees each byte.
pub(super) async fn accept(
    tcp: &mut TcpListener,
    places: &Places,
    stall: Duration,
) -> Connection<StallLimited<TcpStream>> {
    loop {
        let (stream, from) = axum::serve::Listener::accept(tcp).await;
        if let Some(place) = places.take(from.ip()) {
            return Connection { stream: StallLimited::new(stream, stall), from, place };
        }
        tracing::debug!(%from, "a connection was closed: there are too many");
    }
}

/// Answers with `router` until `stop` says so; then it ends what is being answered. Connections end with it.
pub(super) async fn serve(mut listener: impl Accept, router: Router, stop: watch::Receiver<bool>) {
    let (mut connections, mut stopping) = (JoinSet::new(), pin!(stopped(stop.clone())));
    loop {
        tokio::select! {
            connection = listener.accept() => {
                connections.spawn(answer(connection, router.clone(), stop.clone()));
            }
            Some(_) = connections.join_next() => {}
            () = &mut stopping => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn answer<S>(connection: Connection<S>, router: Router, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Connection { stream, from, place: _place } = connection;
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(Address::of(&from)));
        router.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopped(stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, %error, "a connection ended");
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use axum::body::{Body, Bytes};
    use futures::{StreamExt as _, stream};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::timeout,
    };

    use super::*;

    const STALL: Duration = Duration::from_secs(60);

    async fn start(places: usize) -> (SocketAddr, JoinSet<()>, watch::Sender<bool>) {
        serving(Places::new(places), Router::new().fallback(|| async { "42" })).await
    }

    async fn serving(places: Places, router: Router) -> (SocketAddr, JoinSet<()>, watch::Sender<bool>) {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, stop) = (tcp.local_addr().expect("bound"), watch::Sender::new(false));
        let listener = PlainListener { tcp, places, stall: STALL };
        let mut task = JoinSet::new();
        task.spawn(serve(listener, router, stop.subscribe()));
        (address, task, stop)
    }

    async fn said(stream: &mut TcpStream) -> String {
        let mut said = Vec::new();
        // Closed, with or without a reset.
        let _ = stream.read_to_end(&mut said).await;
        String::from_utf8(said).expect("a text")
    }

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: node\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_half_of_a_head_or_no_more_is_cut() {
        let (address, _task, _stop) = start(100).await;
        for sent in [b"".as_slice(), &ASK[..10], ASK] {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.write_all(sent).await.expect("it reads");
            let said = timeout(HEAD_PATIENCE * 3, said(&mut stream)).await.expect("it is cut");
            assert_eq!(said.ends_with("\r\n\r\n42"), sent == ASK, "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_its_answer_is_cut_and_its_place_and_what_the_answer_holds_are_free() {
        let (places, turn) = (Places::new(1), Arc::new(()));
        let held = turn.clone();
        let endless = move || {
            let chunks = stream::repeat(held.clone()).map(|_| Ok::<_, io::Error>(Bytes::from(vec![7; 1 << 16])));
            async { Body::from_stream(chunks) }
        };
        let (address, _task, _stop) = serving(places.clone(), Router::new().fallback(endless)).await;
        let mut stalled = TcpStream::connect(address).await.expect("it listens");
        stalled.write_all(ASK).await.expect("it reads");
        assert_eq!(stalled.read(&mut [0]).await.expect("it answers"), 1);
        let answering = Arc::strong_count(&turn);
        assert!(places.take(address.ip()).is_none(), "it has the only place");
        let freed = async {
            while places.take(address.ip()).is_none() || Arc::strong_count(&turn) >= answering {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        timeout(STALL * 10, freed).await.expect("it is cut");
    }

    #[tokio::test]
    async fn connections_of_one_address_leave_places_and_the_others_are_closed() {
        let (address, _task, _stop) = start(8).await;
        let mut held = Vec::new();
        for _ in 0..4 {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.write_all(ASK).await.expect("it reads");
            // It was taken: it is answered.
            assert_eq!(stream.read(&mut [0]).await.expect("it answers"), 1);
            held.push(stream);
        }
        let mut more = TcpStream::connect(address).await.expect("it listens");
        assert_eq!(said(&mut more).await, "");
        held.pop();
        let freed = async {
            loop {
                let mut stream = TcpStream::connect(address).await.expect("it listens");
                let _ = stream.write_all(ASK).await;
                if matches!(stream.read(&mut [0]).await, Ok(1)) {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(60), freed).await.expect("its place is another's");
    }

    #[tokio::test]
    async fn who_is_told_to_stop_takes_no_more_and_ends() {
        let (address, mut task, stop) = start(8).await;
        let mut idle = TcpStream::connect(address).await.expect("it listens");
        idle.write_all(ASK).await.expect("it reads");
        assert_eq!(idle.read(&mut [0]).await.expect("it answers"), 1);
        stop.send_replace(true);
        task.join_next().await.expect("it was started").expect("it ends");
        assert!(TcpStream::connect(address).await.is_err());
    }
}
