//! What needs no server. `tests/it/stores` asks real ones.

use rstest::rstest;

use super::*;

const LIST: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><EncodingType>url</EncodingType>\
<Contents><Key>f/a+b%C3%A9</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;e&quot;</ETag>\
<Size>7</Size><Owner><ID>o</ID></Owner></Contents>\
<Contents><Key>f/a//b</Key><Size>0</Size></Contents>\
<NextContinuationToken>t&amp;</NextContinuationToken><IsTruncated>true</IsTruncated></ListBucketResult>";

#[test]
fn names_are_decoded_and_odd_ones_are_no_error() {
    let now = [("date", "Fri, 01 Mar 2024 10:00:01 GMT")];
    let page = listing::page(&Answer::of(200, &now, LIST), "f/").unwrap();
    let paths: Vec<_> = page.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a bé", "a//b"]);
    let first = &page.files[0];
    assert_eq!((first.size, first.etag.as_deref(), first.owner.as_deref()), (7, Some("e"), Some("o")));
    assert_eq!(first.modified, Some("2026-01-02T03:04:05.678Z".parse().unwrap()));
    assert_eq!(page.next.as_deref(), Some("t&"));
    assert_eq!(page.now, Some("2024-03-01T10:00:01Z".parse().unwrap()));
}

#[rstest]
#[case::cut_off(&LIST[..LIST.len() - 21])]
#[case::another_document("<html></html>")]
#[case::no_size(&LIST.replace("<Size>7</Size>", ""))]
#[case::of_another_folder(&LIST.replace("f/a//b", "elsewhere"))]
#[case::no_way_on(&LIST.replace("t&amp;", ""))]
#[case::says_nothing_of_its_end(&LIST.replace("<IsTruncated>true</IsTruncated>", ""))]
fn half_a_listing_is_none(#[case] body: &str) {
    let problem = listing::page(&Answer::of(200, &[], body), "f/").unwrap_err();
    assert!(matches!(problem, Fault::Nonsense(_)), "{problem}");
}

#[rstest]
#[case("b", &[], "https://b.s3.us-east-1.amazonaws.com")]
#[case("b.c", &[], "https://s3.us-east-1.amazonaws.com/b.c")]
#[case("b", &[("aws_region", "cn-north-1")], "https://b.s3.cn-north-1.amazonaws.com.cn")]
#[case("b", &[("aws_endpoint", "https://minio.example.com:9000/x/")], "https://minio.example.com:9000/x/b")]
#[case("b", &[("aws_endpoint", "http://127.0.0.1:1"), ("aws_virtual_hosted_style_request", "TRUE")], "http://b.127.0.0.1:1")]
#[case("b", &[("aws_endpoint", "http://minio.example.com"), ("aws_allow_http", "true")], "http://minio.example.com/b")]
fn bucket_stands_in_the_host_or_in_the_path(
    #[case] bucket: &str,
    #[case] options: &[(&'static str, &str)],
    #[case] expected: &str,
) {
    let reach = Reach::of(bucket, &Set::of(options, &[])).unwrap();
    assert_eq!(reach.bucket_url(bucket), expected);
}

#[rstest]
#[case("aws_endpoint", "https://me:hush@example.com", "holds credentials")]
#[case("aws_endpoint", "http://example.com", "http to another machine")]
#[case("aws_endpoint", "example.com", "is no URL")]
#[case("aws_region", "eu west", "is no region")]
#[case("aws_allow_http", "yes", "must be true or false")]
#[case("aws_server_side_encryption", "aes256", "must be one of `AES256`, `aws:kms`")]
fn places_that_secrets_must_not_go_to_are_refused(
    #[case] option: &'static str,
    #[case] value: &str,
    #[case] expected: &str,
) {
    let problem = Reach::of("b", &Set::of(&[(option, value)], &[])).unwrap_err().to_string();
    assert!(problem.contains(expected) && !problem.contains("hush"), "{problem}");
}

#[rstest]
#[case(&[("aws_access_key_id", "k")], "go together")]
#[case(&[("aws_secret_access_key", "s")], "go together")]
#[case(&[("aws_access_key_id", "k"), ("aws_secret_access_key", "s"), ("aws_profile", "p")], "choose one login")]
fn half_a_login_and_two_are_refused(#[case] options: &[(&'static str, &str)], #[case] expected: &str) {
    let problem = AwsCredentials::new(&Set::of(options, &[])).unwrap_err().to_string();
    assert!(problem.contains(expected), "{problem}");
}

#[rstest]
#[case(&[], &[], "eu-north-1")]
#[case(&[("aws_profile", "etl")], &[], "eu-west-3")]
#[case(&[], &[("AWS_PROFILE", "etl")], "eu-west-3")]
#[case(&[("aws_profile", "bare")], &[], "us-east-1")]
#[case(&[("aws_access_key_id", "k"), ("aws_secret_access_key", "s")], &[], "us-east-1")]
#[case(&[("aws_profile", "etl")], &[("AWS_DEFAULT_REGION", "eu-south-1")], "eu-south-1")]
#[case(&[("aws_profile", "etl"), ("aws_region", "sa-east-1")], &[("AWS_REGION", "eu-south-1")], "sa-east-1")]
fn region_is_that_of_the_option_the_environment_or_the_profile(
    #[case] options: &[(&'static str, &str)],
    #[case] environment: &[(&str, &str)],
    #[case] expected: &str,
) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    let text = "[default]\nregion = eu-north-1\n[profile etl]\nregion=eu-west-3 \nrole_arn = arn:aws:iam::1:role/x\n[profile bare]\n";
    std::fs::write(&file, text).unwrap();
    let environment = [environment, &[("AWS_CONFIG_FILE", file.to_str().unwrap())]].concat();
    assert_eq!(region(&Set::of(options, &environment)), expected);
}

#[tokio::test]
async fn refusals_say_what_is_needed() {
    let mut set = StorageOptions::default();
    for (name, value) in
        [("aws_access_key_id", "k"), ("aws_secret_access_key", "s"), ("aws_region", "eu-west-1")]
    {
        set.set(name, value).unwrap();
    }
    let s3 = S3::open("b", "f", &set, &Arc::default()).await.unwrap();
    let moved = [("x-amz-bucket-region", "eu-central-1")];
    for (status, headers, code, expected) in [
        (403, &[][..], "AccessDenied", "NEED"),
        (403, &[], "SignatureDoesNotMatch", "credentials"),
        (400, &[], "ExpiredToken", "credentials"),
        (
            301,
            &moved,
            "PermanentRedirect",
            "the bucket is in region `eu-central-1`, not `eu-west-1`: set `aws_region`",
        ),
        (400, &moved, "AuthorizationHeaderMalformed", "the bucket is in region `eu-central-1`"),
        (307, &[], "TemporaryRedirect", "the endpoint points elsewhere"),
        (501, &[], "NotImplemented", "does not do what is needed"),
    ] {
        let body = format!("<Error><Code>{code}</Code><Message>told</Message></Error>");
        let told = s3.refusal(&Answer::of(status, headers, &body), "NEED").to_string();
        assert!(told.contains(expected), "{code}: {told}");
    }
    assert!(matches!(s3.refusal(&Answer::of(404, &[], ""), "NEED"), Fault::Missing));
}
