use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn stores(options: &Value) -> TableStores {
    let mut document = serde_json::Map::new();
    document.insert("o".to_owned(), options.clone());
    TableStores::new(StorageOptions::parse(&document, "o").unwrap())
}

fn usual() -> Value {
    json!({
        "aws_access_key_id": "k", "aws_secret_access_key": "hidden", "azure_storage_account_name": "acc",
        "azure_storage_account_key": "aGlkZGVu", "google_skip_signature": true,
    })
}

#[rstest]
#[case("s3a://b/wh/t", "s3://b/wh/t/")]
#[case("s3://b/a b#?/t/", "s3://b/a b#?/t/")]
#[case("az://c/t", "az://c/t/")]
#[case("wasbs://c@a.blob.core.windows.net/t", "abfss://c@a.dfs.core.windows.net/t/")]
#[case("gs://b/t", "gs://b/t/")]
#[case("/wh/a b", "file:///wh/a%20b/")]
#[tokio::test]
async fn spellings_of_a_place_are_one(#[case] location: &str, #[case] shown: &str) {
    let place = stores(&usual()).place(location).await.unwrap();
    assert_eq!(place.url(), shown);
    if place.bucket.is_some() {
        assert_eq!(stores(&usual()).place(place.url()).await.unwrap().url(), shown);
    }
}

#[rstest]
#[case("s3://b", json!({}), "needs a folder")]
#[case("s3://b/a%20b", json!({}), "a `%`")]
#[case("dbfs:/mnt/t", json!({}), "no writes that fail where a file is")]
#[case("/Volumes/c/s/v/t", json!({}), "does not allow tables in volumes")]
#[case("s3://b/t", json!({"aws_endpoint": "http://10.0.0.1:9000"}), "http to another machine")]
#[case("s3://b/t", json!({"aws_server_side_encryption": "env:PATH"}), "must be one of `AES256`")]
#[case("az://c/t", json!({"azure_storage_account_name": null}), "no storage account")]
#[case("abfss://c@example.com/t", json!({}), "is no host of Azure")]
#[case(
    "gs://b/t",
    json!({"google_skip_signature": false, "google_service_account_key": "hidden"}),
    "is no JSON object"
)]
#[case(
    "az://c/t",
    json!({"azure_storage_account_key": null, "azure_client_secret": "hidden"}),
    "needs `azure_client_id`"
)]
#[case("gs://b/t", json!({"google_skip_signature": "env:PATH"}), "must be true or false")]
#[case("gs://b/t", json!({"google_base_url": "http://10.0.0.1"}), "http to another machine")]
#[tokio::test]
async fn what_cannot_be_right_is_told_before_anything_is_asked(
    #[case] location: &str,
    #[case] options: Value,
    #[case] expected: &str,
) {
    let mut all = usual();
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let error = stores(&all).place(location).await.unwrap_err().to_string();
    assert!(error.contains(expected) && error.contains(location), "{error}");
    assert!(!error.contains("hidden") && !error.contains("aGlkZGVu"), "{error}");
}

#[tokio::test]
async fn tables_of_a_bucket_share_its_client() {
    let stores = stores(&usual());
    let one = stores.place("s3://b/one").await.unwrap();
    let two = stores.place("s3a://b/two").await.unwrap();
    let (Some((_, one)), Some((_, two))) = (&one.bucket, &two.bucket) else { panic!("{one:?} {two:?}") };
    assert!(Arc::ptr_eq(one, two));
    let shown = format!("{stores:?}");
    assert!(!shown.contains("hidden"), "{shown}");
}
