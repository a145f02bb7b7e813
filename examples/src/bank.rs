//! Two accounts and a transfer between them in one append; a command that is repeated. Each step is asserted.

use annals::{BoxError, EventId, EventStore};
use annals_domain::{Aggregate, Application, Event, ExecuteError, Repository, given};

use crate::story::Say;

/// What happens to an account. Amounts are in cents.
#[derive(Event, Debug, Clone, PartialEq)]
pub enum AccountEvent {
    /// It was opened.
    #[event(name = "account-opened")]
    Opened {
        /// For whom.
        owner: String,
    },
    /// Money came in.
    #[event(name = "deposited")]
    Deposited {
        /// How much.
        amount: u64,
    },
    /// Money went out.
    #[event(name = "withdrawn")]
    Withdrawn {
        /// How much.
        amount: u64,
    },
}

/// An account.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    owner: String,
    balance: u64,
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "accounts";
    type Id = String;
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Opened { owner } => self.owner = owner,
            AccountEvent::Deposited { amount } => self.balance += amount,
            AccountEvent::Withdrawn { amount } => self.balance -= amount,
        }
    }
}

/// Why money is not moved.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum No {
    /// There is too little.
    #[error("only {0} are left")]
    Funds(u64),
    /// Nothing is to be moved.
    #[error("an amount is at least 1")]
    Amount,
}

impl Account {
    fn withdraw(&self, amount: u64) -> Result<AccountEvent, No> {
        match amount {
            0 => Err(No::Amount),
            _ if amount > self.balance => Err(No::Funds(self.balance)),
            _ => Ok(AccountEvent::Withdrawn { amount }),
        }
    }

    fn deposit(amount: u64) -> Result<AccountEvent, No> {
        if amount == 0 { Err(No::Amount) } else { Ok(AccountEvent::Deposited { amount }) }
    }
}

/// Moves money in one append: both accounts are changed, or none.
async fn transfer(
    bank: &Application,
    from: &str,
    to: &str,
    amount: u64,
) -> Result<(), ExecuteError<No>> {
    let accounts: Repository<Account> = bank.repository();
    let mut from = accounts.get(&from.to_owned()).await?;
    let mut to = accounts.get(&to.to_owned()).await?;
    from.execute(|account| account.withdraw(amount))?;
    to.execute(|_| Account::deposit(amount))?;
    bank.save(&mut [&mut from, &mut to]).await?;
    Ok(())
}

/// Plays the story on an empty store, and passes what happens to `say`.
///
/// # Errors
/// Those of the store.
///
/// # Panics
/// If the store does not do what a step of the story expects.
///
/// # Cancel safety
/// Dropped, the story ends after one of its appends.
pub async fn story(store: &EventStore, say: Say<'_>) -> Result<(), BoxError> {
    // A decision needs no store to be tested.
    let opened = AccountEvent::Opened { owner: "Ann".to_owned() };
    given::<Account>([opened, AccountEvent::Deposited { amount: 5 }])
        .when(|account| account.withdraw(6))
        .then_rejected(No::Funds(5));

    let bank = Application::new("Bank", store.clone());
    let accounts: Repository<Account> = bank.repository();
    let [ann, bob] = ["ann", "bob"].map(str::to_owned);
    for id in [&ann, &bob] {
        accounts.create(id, || AccountEvent::Opened { owner: id.clone() }).await?;
    }
    let deposited = accounts.execute(&ann, |_| Account::deposit(100)).await?;
    assert_eq!((deposited.state().balance, deposited.version()), (100, 2));
    say("ann has 100, bob has nothing".to_owned());

    transfer(&bank, "ann", "bob", 70).await?;
    let balances = async || -> Result<[u64; 2], BoxError> {
        Ok([accounts.get(&ann).await?.balance, accounts.get(&bob).await?.balance])
    };
    assert_eq!(balances().await?, [30, 70]);
    say("ann gave 70 to bob, in one append".to_owned());

    let error = transfer(&bank, "ann", "bob", 31).await.expect_err("too much");
    assert_eq!(error.rejection(), Some(&No::Funds(30)));
    say(format!("rejected: {error}"));
    let error = transfer(&bank, "ann", "carl", 1).await.expect_err("nobody");
    say(format!("failed: {error}"));
    assert!(error.failure().is_some_and(annals_domain::Error::is_not_found));
    assert_eq!(balances().await?, [30, 70]);

    // Somebody withdraws between look and save: nothing of the transfer happens.
    let mut from = accounts.get(&ann).await?;
    let mut to = accounts.get(&bob).await?;
    accounts.execute(&ann, |account| account.withdraw(25)).await?;
    from.execute(|account| account.withdraw(30))?;
    to.execute(|_| Account::deposit(30))?;
    let error = bank.save(&mut [&mut from, &mut to]).await.expect_err("ann has 5");
    assert!(error.is_conflict());
    say(format!("failed: {error}"));
    assert_eq!(balances().await?, [5, 70]);

    // A client that lost the answer sends its command again.
    let once = accounts.command(EventId::generate())?;
    let first = once.execute(&bob, |account| account.withdraw(50)).await?;
    let again = once.execute(&bob, |account| account.withdraw(50)).await?;
    assert_eq!((first.repeated, again.repeated, &again.events), (false, true, &first.events));
    assert_eq!(balances().await?, [5, 20]);
    say("bob withdrew 50 once, with a command that was sent twice".to_owned());
    Ok(())
}
