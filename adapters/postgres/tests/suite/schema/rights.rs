//! Roles: what they need, and what hides rows from them.

use annals::{Append, Error, Query, StorageAdapter, WriteCondition};
use annals_postgres::PostgresOptions;
use annals_postgres::tokio_postgres::Config;

use crate::common::{
    admin, all, append_to, assert_whole, events, fresh, open, options, server, stream, try_read,
};

/// Policies hide rows without an error: a reader would skip events, and a condition would hold that does not.
#[tokio::test]
async fn row_level_security_that_hides_events_is_noticed() {
    let Some(url) = server().await else { return };
    let (schema, role) = (fresh(), fresh());
    let owner = options(&url, &schema).unwrap();
    open(owner.clone()).await.append(append_to("o-1", 3)).await.unwrap();
    let admin = admin(&url).await.unwrap();
    let sql = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret-of-the-role'");
    admin.batch_execute(&sql).await.unwrap();
    admin.batch_execute(&owner.schema().grants(&role).unwrap()).await.unwrap();
    let before = as_role(&url, &schema, &role).connect().await.unwrap();
    for table in [
        "events",
        "events_names",
        "events_streams",
        "events_event_tags",
        "events_documents",
        "events_entries",
        "events_state_meta",
    ] {
        let change = |what| format!("ALTER TABLE {schema}.{table} {what} ROW LEVEL SECURITY");
        admin.batch_execute(&change("ENABLE")).await.unwrap();
        let aware = as_role(&url, &schema, &role);
        let error = aware.clone().connect().await.unwrap_err();
        assert!(error.to_string().contains(table), "{error}");
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        let error = aware.with_transaction_pooler(true).connect().await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "without a session of its own: {error:?}");
        // The owner is not subject to it; a role that was connected before gets an error.
        assert_eq!(all(&owner.clone().connect().await.unwrap()).await.len(), 3);
        if table == "events" {
            let error = try_read(&before, Query::all()).await.unwrap_err();
            assert!(matches!(error, Error::Backend { .. }), "{error:?}");
        }
        admin.batch_execute(&change("DISABLE")).await.unwrap();
    }
    assert_eq!(all(&before).await.len(), 3);
    drop(before);
    admin.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}
/// Options for `url` as the user `role`.
fn as_role(url: &str, schema: &str, role: &str) -> PostgresOptions {
    let mut config: Config = url.parse().unwrap();
    config.user(role).password("secret-of-the-role");
    PostgresOptions::from_config(config).with_schema(schema)
}
#[tokio::test]
async fn a_role_with_no_more_rights_than_it_needs_and_another_search_path() {
    let Some(url) = server().await else { return };
    let (schema, role) = (fresh(), fresh());
    let owner = options(&url, &schema).unwrap();
    owner.migrate().await.unwrap();
    let admin = admin(&url).await.unwrap();
    let sql = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'secret-of-the-role'; ALTER ROLE {role} SET search_path = nowhere"
    );
    admin.batch_execute(&sql).await.unwrap();
    admin.batch_execute(&owner.schema().grants(&role).unwrap()).await.unwrap();
    let adapter = as_role(&url, &schema, &role).connect().await.unwrap();
    let tags = annals::Tags::parse(["a:1"]).unwrap();
    let tagged = events(2).into_iter().map(|event| event.with_tags(tags.clone()));
    let condition = WriteCondition::no_match(Query::all(), annals::SequenceNumber::START);
    adapter.append(vec![Append::new(stream("o-1"), tagged, condition)]).await.unwrap();
    assert_whole(&all(&adapter).await);
    let none = as_role(&url, &schema, &role).with_table("other").migrate().await.unwrap_err();
    assert!(matches!(none, Error::Backend { .. }), "it may not create: {none:?}");
    drop(adapter);
    admin.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}
