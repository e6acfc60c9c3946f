//! Requests of remote write: labels, numbers, marks and what answers mean.

use super::super::Form as _;
use super::super::pass::History;
use super::message::{Request, WriteRequest};
use super::series::STALE;
use super::*;
use crate::exporter::scrapes::Recorded;
use crate::metric::batch::Recorder;
use crate::metric::{Desc, Histogram, Kind, Sink, Summary, Value};
use prost::Message;
use std::time::Instant;

fn pass(history: &mut History, write: impl Fn(&mut Recorder)) -> Pass {
    let mut out = Recorder::default();
    write(&mut out);
    history.next(Recorded { batch: out.finish(), begun: Instant::now() }, 5000)
}

fn options() -> Options {
    let external_labels = [("site", "x"), ("empty", ""), ("a", "taken")];
    Options {
        url: "http://127.0.0.1:1/w".into(),
        external_labels: external_labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        instance: Some("web1".into()),
        ..Options::default()
    }
}

fn bodies(options: &Options, pass: &Pass) -> Vec<Vec<u8>> {
    let (mut form, _) = options.start(&Attributes::new()).unwrap();
    let unpack = |record: Record| snap::raw::Decoder::new().decompress_vec(&record.body).unwrap();
    form.records(pass).into_iter().map(unpack).collect()
}

/// The series of a request of version 1.0 as text.
fn one(options: &Options, pass: &Pass) -> Vec<String> {
    let requests = bodies(options, pass);
    let all = requests.iter().flat_map(|body| WriteRequest::decode(&body[..]).unwrap().timeseries);
    all.map(|series| {
        let labels: Vec<String> = series.labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
        assert!(series.labels.is_sorted_by(|a, b| a.name < b.name), "{labels:?}");
        let value = series.samples[0].value;
        let value = if value.to_bits() == STALE { "stale".into() } else { value.to_string() };
        format!("{} {value}", labels.join(","))
    })
    .collect()
}

#[test]
fn series_have_their_labels_in_order_and_end_with_a_mark() {
    let mut history = History::default();
    let all = pass(&mut history, |out| {
        out.family(&Desc::gauge("g", "G.", &["a", "job", "instance"]).sparse());
        out.sample(&["1", "", ""], Value::U64(3));
        out.sample(&["", "shop", "i1"], Value::F64(f64::NAN));
        out.sample(&["", "shop", ""], Value::F64(1.5));
        out.family(&Desc { name: "h", help: "H.", kind: Kind::Histogram, labels: &[], sparse: false });
        let buckets = vec![(0.5, 2), (1e6, 4)];
        out.sample(&[], Value::Histogram(&Histogram { buckets, sum: Some(9.0), count: 5 }));
        out.family(&Desc { name: "s", help: "S.", kind: Kind::Summary, labels: &[], sparse: false });
        out.sample(&[], Value::Summary(&Summary { quantiles: vec![(0.5, 2.0)], sum: 9.0, count: 5 }));
        out.family(&Desc::gauge("x.y", "X.", &["b.c"]));
        out.sample(&["1"], Value::U64(1));
        out.family(&Desc::gauge("x_y", "X.", &[]));
        out.sample(&[], Value::U64(2));
    });
    let own = "instance=web1,job=headroom";
    let expected = [
        format!("__name__=g,a=1,{own},site=x 3"),
        "__name__=g,a=taken,instance=i1,job=shop,site=x NaN".to_owned(),
        "__name__=g,a=taken,job=shop,site=x 1.5".to_owned(),
        format!("__name__=h_bucket,a=taken,{own},le=0.5,site=x 2"),
        format!("__name__=h_bucket,a=taken,{own},le=1e+06,site=x 4"),
        format!("__name__=h_bucket,a=taken,{own},le=+Inf,site=x 5"),
        format!("__name__=h_sum,a=taken,{own},site=x 9"),
        format!("__name__=h_count,a=taken,{own},site=x 5"),
        format!("__name__=s,a=taken,{own},quantile=0.5,site=x 2"),
        format!("__name__=s_sum,a=taken,{own},site=x 9"),
        format!("__name__=s_count,a=taken,{own},site=x 5"),
        format!("__name__=x_y,a=taken,b_c=1,{own},site=x 1"),
    ];
    assert_eq!(one(&options(), &all), expected);
    let gone = one(&options(), &pass(&mut history, |_| ()));
    assert_eq!(gone.len(), expected.len());
    assert!(gone.iter().all(|series| series.ends_with(" stale")), "{gone:#?}");
    assert!(one(&options(), &pass(&mut history, |_| ())).is_empty());
}

#[test]
fn version_two_has_each_text_once_and_tells_what_a_series_is() {
    let all = pass(&mut History::default(), |out| {
        out.family(&Desc::gauge("node_boot_time_seconds", "Boot.", &[]));
        out.sample(&[], Value::F64(2.0));
        out.family(&Desc::counter("node_x_bytes_total", "X.", &["a"]));
        out.sample(&["1"], Value::U64(3));
        out.sample(&["2"], Value::U64(4));
    });
    let options = Options { version: Version::Two, ..options() };
    let body = bodies(&options, &all).remove(0);
    let request = Request::decode(&body[..]).unwrap();
    let mut symbols = request.symbols.clone();
    assert_eq!(symbols[0], "");
    symbols.sort();
    symbols.dedup();
    assert_eq!(symbols.len(), request.symbols.len());
    let text = |at: u32| request.symbols[usize::try_from(at).unwrap()].as_str();
    let last = &request.timeseries[2];
    let labels: Vec<String> =
        last.labels_refs.chunks(2).map(|pair| format!("{}={}", text(pair[0]), text(pair[1]))).collect();
    assert_eq!(labels, ["__name__=node_x_bytes_total", "a=2", "instance=web1", "job=headroom", "site=x"]);
    let metadata = last.metadata.unwrap();
    assert_eq!((metadata.kind, text(metadata.help_ref), text(metadata.unit_ref)), (1, "X.", "bytes"));
    let sample = &last.samples[0];
    assert_eq!((sample.value, sample.start_timestamp, last.created_timestamp), (4.0, 2000, 2000));
    assert_eq!(request.timeseries[0].samples[0].start_timestamp, 0, "a gauge has no start");
}

#[test]
fn no_request_has_more_series_than_it_may_and_each_says_what_its_families_are() {
    let all = pass(&mut History::default(), |out| {
        out.family(&Desc::counter("many_total", "Many.", &["n"]));
        for n in 0..=2 * SERIES_MAX {
            out.sample(&[&n.to_string()], Value::U64(1));
        }
    });
    let requests = bodies(&options(), &all);
    assert_eq!(requests.len(), 3);
    for body in &requests {
        let metadata = WriteRequest::decode(&body[..]).unwrap().metadata;
        let said: Vec<_> = metadata.iter().map(|m| (m.kind, m.family.as_str(), m.help.as_str())).collect();
        assert_eq!(said, [(1, "many_total", "Many.")]);
    }
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "s3cret\n").unwrap();
    let header = |options: &Options| {
        let (_, post) = options.start(&Attributes::new()).unwrap();
        let headers = post.headers(ONE).unwrap();
        let text = headers.get(AUTHORIZATION).map(|v| v.to_str().unwrap().to_owned());
        assert!(!format!("{headers:?}").contains("s3cret"));
        text
    };
    assert_eq!(header(&options()), None);
    let bearer = Options { bearer_token_file: Some(file.clone()), ..options() };
    assert_eq!(header(&bearer).as_deref(), Some("Bearer s3cret"));
    let login = BasicAuth { username: "me".into(), password_file: file.clone() };
    let basic = Options { basic_auth: Some(login), ..options() };
    assert_eq!(header(&basic), Some(format!("Basic {}", STANDARD.encode("me:s3cret"))));
    std::fs::remove_file(&file).unwrap();
    assert!(bearer.start(&Attributes::new()).is_err());
}

#[test]
fn mistakes_have_their_key() {
    let of = |change: &dyn Fn(&mut Options)| {
        let mut options = options();
        change(&mut options);
        check(&[options]).unwrap_err().0
    };
    assert_eq!(of(&|o| o.url = "ftp://x".into()), "remote_write[0].url");
    assert_eq!(of(&|o| o.name = Some("../x".into())), "remote_write[0].name");
    assert_eq!(of(&|o| o.name = Some("otlp".into())), "remote_write[0].name");
    assert_eq!(
        of(&|o| _ = o.external_labels.insert("a-b".into(), "c".into())),
        "remote_write[0].external_labels"
    );
    let both = |o: &mut Options| {
        (o.basic_auth, o.bearer_token_file) = (Some(BasicAuth::default()), Some("x".into()));
    };
    assert_eq!(of(&both), "remote_write[0].bearer_token_file");
    let same = Options { name: Some("remote_write_0".into()), ..options() };
    assert_eq!(check(&[options(), same]).unwrap_err().0, "remote_write[1].name");
}

fn said(status: u16, written: Option<&'static str>, form: &'static str) -> String {
    let mut answer = Response::new("no");
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    let of = |text| (HeaderName::from_static(WRITTEN[0]), HeaderValue::from_static(text));
    answer.headers_mut().extend(written.map(of));
    match outcome(&answer, &Record { body: vec![], points: 10, form }) {
        Outcome::Taken { refused } => format!("taken but {refused}"),
        Outcome::Later { reason, .. } => reason.to_owned(),
        Outcome::Never { taken, .. } => format!("never but {taken}"),
    }
}

#[test]
fn answers_say_whether_to_come_again() {
    for (status, expected) in [
        (200, "taken but 0"),
        (204, "taken but 0"),
        (429, "busy"),
        (503, "busy"),
        (500, "error"),
        (502, "error"),
        (400, "never but 0"),
        (401, "never but 0"),
        (415, "never but 0"),
    ] {
        assert_eq!(said(status, None, ONE), expected, "{status}");
    }
}

#[test]
fn a_receiver_of_version_two_says_what_it_wrote_and_one_that_does_not_is_none() {
    assert_eq!(said(204, Some("10"), TWO), "taken but 0");
    assert_eq!(said(204, Some("7"), TWO), "taken but 3");
    assert_eq!(said(204, Some("11"), TWO), "taken but 0");
    assert_eq!(said(200, None, TWO), "never but 0");
    assert_eq!(said(200, Some("many"), TWO), "taken but 10");
    assert_eq!(said(400, Some("8"), TWO), "never but 8");
    assert_eq!(said(400, None, TWO), "never but 0");
    assert_eq!(said(503, Some("8"), TWO), "busy");
    // One of version 1.0 may say anything: nobody relies on it.
    assert_eq!(said(200, Some("3"), ONE), "taken but 0");
    assert_eq!(said(400, Some("3"), ONE), "never but 0");
}

#[test]
fn a_record_is_sent_as_what_it_was_made_as() {
    let (_, post) = options().start(&Attributes::new()).unwrap();
    let kind = |form| post.headers(form).unwrap()[CONTENT_TYPE].to_str().unwrap().to_owned();
    assert_eq!(kind(ONE), "application/x-protobuf");
    assert!(kind(TWO).ends_with("write.v2.Request"));
}
