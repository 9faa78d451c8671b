use secrecy::{ExposeSecret, SecretString};

use super::{Call, MemoryDatabases};
use crate::database::{DatabaseError, Databases, Deployment, Login, TableInfo, Target};
use crate::id::PreviewId;
use crate::preview::Isolation;

fn target(project_id: u64) -> Target {
    let id = PreviewId::project(project_id);
    Target { name: id.database_name("kosuke_project_"), id, deployment: Deployment::named("me") }
}

fn table(name: &str) -> TableInfo {
    TableInfo { schema: "public".into(), name: name.into(), row_estimate: Some(1), size_bytes: Some(8192) }
}

#[tokio::test]
async fn one_call_creates_a_database_and_the_others_find_it() -> Result<(), DatabaseError> {
    let databases = MemoryDatabases::new();
    let of = target(7);
    let (first, second) = tokio::try_join!(databases.ensure(&of), databases.ensure(&of))?;
    assert!(first.created && !second.created);
    assert_eq!(databases.info(&target(7)).await?.owner, "kosuke_project_7");
    let stranger = Target { deployment: Deployment::named("you"), ..target(7) };
    assert!(databases.ensure(&stranger).await.is_err());
    assert!(databases.info(&target(8)).await.is_err());
    assert_eq!((databases.count(Call::Ensure), databases.count(Call::Info)), (3, 2));
    Ok(())
}

#[tokio::test]
async fn only_the_last_password_logs_in() -> Result<(), DatabaseError> {
    let databases = MemoryDatabases::new();
    let (old, new) = (SecretString::from("old"), SecretString::from("n/w"));
    assert!(databases.set_password("kosuke_project_7", &old).await.is_err());
    databases.ensure(&target(7)).await?;
    for password in [&old, &new] {
        databases.set_password("kosuke_project_7", password).await?;
    }
    let accepts = |login| databases.accepts(databases.url("kosuke_project_7", &login, "postgres").expose_secret());
    assert!(accepts(Login::Role(new)) && accepts(Login::Admin) && !accepts(Login::Role(old)));
    assert_eq!(databases.passwords("kosuke_project_7").len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_drop_that_failed_is_finished_by_the_next_call() -> Result<(), DatabaseError> {
    let databases = MemoryDatabases::new();
    for number in [7, 8] {
        databases.ensure(&target(number)).await?;
        databases.fail_next(Call::Remove, DatabaseError::new("drop database", "is in use"));
        assert!(databases.remove(&target(number)).await.is_err());
    }
    assert!(databases.ensure(&target(7)).await?.created);
    let owned = databases.owned(&Deployment::named("me")).await?;
    assert_eq!(owned.iter().map(|owned| owned.dropping).collect::<Vec<_>>(), [false, true]);
    assert!(!databases.remove_again(&owned[0]).await?);
    assert!(databases.remove_again(&owned[1]).await?);
    assert!(databases.remove(&target(7)).await?);
    assert!(!databases.remove(&target(7)).await?);
    databases.insert(&target(9), true, true);
    assert!(
        databases
            .owned(&Deployment::named("me"))
            .await?
            .iter()
            .all(|owned| owned.role_only && owned.size_bytes.is_none())
    );
    assert!(databases.owned(&Deployment::named("you")).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_reset_empties_and_a_copy_copies() -> Result<(), DatabaseError> {
    let databases = MemoryDatabases::with_isolation(Isolation::Admin, Some("as the settings say"));
    databases.ensure(&target(7)).await?;
    assert!(databases.set_tables("kosuke_project_7", vec![table("users")]));
    databases.copy(&target(8), &target(7)).await?;
    databases.reset(&target(7)).await?;
    let (emptied, copied) = (databases.info(&target(7)).await?, databases.info(&target(8)).await?);
    assert_eq!((emptied.tables, copied.tables), (vec![], vec![table("users")]));
    assert_eq!((copied.isolation, copied.size_bytes), (Isolation::Admin, 8192));
    assert!(databases.copy(&target(7), &target(9)).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_held_call_changes_nothing_before_its_release() -> Result<(), DatabaseError> {
    let databases = MemoryDatabases::new();
    let mut held = databases.hold(Call::Ensure);
    let observe = async {
        held.reached().await;
        assert!(databases.owned(&Deployment::named("me")).await?.is_empty());
        assert_eq!(databases.history()[0], (Call::Ensure, "kosuke_project_7".into()));
        held.release();
        Ok(())
    };
    let of = target(7);
    let (ensured, ()) = tokio::try_join!(databases.ensure(&of), observe)?;
    assert!(ensured.created);
    databases.reset_calls();
    drop(databases.hold(Call::Ensure));
    assert!(!databases.ensure(&target(7)).await?.created);
    assert_eq!(databases.calls().into_iter().collect::<Vec<_>>(), [(Call::Ensure, 1)]);
    Ok(())
}
