//! A gate: all the rules of a route. Look at all, then account all.
//!
//! Guarantees: a reject by one rule spends nothing in any other; the wait is the longest any rule asks for; `burst + 1` of a
//! rule is never exceeded, however many threads decide at once; no lock is held between two rules.

use super::{
    key::Subject,
    millis::Millis,
    rule::{Mode, Rule},
    verdict::{Decision, Reason, Verdict},
    zone::{Intent, Place, Standing},
};

/// The most rules a route may have.
pub const MAX_RULES: usize = 8;

/// The rules of a route, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Gate {
    rules: Vec<Rule>,
}

/// What a gate answers.
#[derive(Clone, Copy, Debug)]
#[must_use = "a delayed request must be held, and its charges given back when it leaves"]
pub struct Judgement {
    /// What is to happen to the request.
    pub verdict: Verdict,
    /// The first dry-run rule that would have delayed or rejected it.
    pub dry_run: Option<Verdict>,
    /// What each rule decided by itself; `None` where a rule was not reached.
    pub decisions: [Option<Decision>; MAX_RULES],
    /// The fingerprint the deciding rule counts the request under; 0 when none does.
    pub key: u64,
    /// What was accounted for: give it back if the request leaves before it is released.
    pub charges: Charges,
}

/// The accounts a request was charged to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charges([Place; MAX_RULES]);

impl Gate {
    /// A gate of these rules.
    ///
    /// # Errors
    /// The number of rules, when it is more than [`MAX_RULES`].
    pub fn new(rules: Vec<Rule>) -> Result<Self, usize> {
        if rules.len() > MAX_RULES { Err(rules.len()) } else { Ok(Self { rules }) }
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides about one request and accounts for it.
    pub fn decide(&self, subject: &Subject<'_>, now: Millis) -> Judgement {
        let standings = self.standings(subject);
        if self.rules.len() > 1 {
            let looked = self.run(&standings, now, Intent::Look);
            if looked.verdict.decision == Decision::Reject {
                return looked;
            }
        }
        let mut charged = self.run(&standings, now, Intent::Charge);
        if charged.verdict.decision == Decision::Reject {
            // Another thread took the last place of a rule since the look: what the rules before it took goes back.
            self.give_back(&charged.charges, now);
            charged.charges = Charges::default();
        }
        charged
    }

    /// Decides as [`Gate::decide`] would, and leaves no trace.
    pub fn look(&self, subject: &Subject<'_>, now: Millis) -> Judgement {
        self.run(&self.standings(subject), now, Intent::Look)
    }

    /// Undoes the charges of a request that left, at `now`, before it was released.
    pub fn give_back(&self, charges: &Charges, now: Millis) {
        for (place, rule) in charges.0.iter().zip(&self.rules) {
            rule.zone().give_back(*place, now);
        }
    }

    fn standings(&self, subject: &Subject<'_>) -> [Standing; MAX_RULES] {
        let mut standings = [Standing::Exempt; MAX_RULES];
        for (standing, rule) in standings.iter_mut().zip(&self.rules) {
            *standing = rule.zone().standing(subject);
        }
        standings
    }

    /// Asks every rule in order and stops at the first enforced reject.
    fn run(&self, standings: &[Standing; MAX_RULES], now: Millis, intent: Intent) -> Judgement {
        let mut judgement = Judgement::EMPTY;
        for (index, (rule, standing)) in self.rules.iter().zip(standings).enumerate() {
            let (mut verdict, place) = ask(rule, *standing, now, intent);
            verdict.rule = Some(index);
            judgement.decisions[index] = Some(verdict.decision);
            judgement.charges.0[index] = place;
            if judgement.add(verdict, rule.settings().mode)
                && let Standing::Counted(fingerprint) = *standing
            {
                judgement.key = fingerprint;
            }
            if judgement.verdict.decision == Decision::Reject {
                judgement.verdict.retry = judgement.verdict.retry.max(self.retry_after(index, standings, now));
                break;
            }
        }
        judgement
    }

    /// When every rule behind `first` would agree: a client that comes back when it is told to is not refused by the next rule.
    fn retry_after(&self, first: usize, standings: &[Standing; MAX_RULES], now: Millis) -> Millis {
        let behind = self.rules.iter().zip(standings).skip(first + 1);
        let enforced = behind.filter(|(rule, _)| rule.settings().mode == Mode::Enforce);
        enforced.map(|(rule, standing)| ask(rule, *standing, now, Intent::Look).0.retry).max().unwrap_or_default()
    }
}

/// One rule's verdict on a request that stands so towards its zone.
fn ask(rule: &Rule, standing: Standing, now: Millis, intent: Intent) -> (Verdict, Place) {
    match standing {
        Standing::Exempt => (Verdict::EXEMPT, Place::default()),
        Standing::Missing => (Verdict::EXEMPT.rejected(Reason::MissingKey, Millis::ZERO), Place::default()),
        Standing::Counted(fingerprint) => rule.judge(fingerprint, now, intent),
    }
}

impl Judgement {
    const EMPTY: Self = Self {
        verdict: Verdict::EXEMPT,
        dry_run: None,
        decisions: [None; MAX_RULES],
        key: 0,
        charges: Charges([Place { fingerprint: 0, end: 0 }; MAX_RULES]),
    };

    /// Takes one rule's verdict in: a reject ends it, the longest wait leads, any rule that counted leads over none.
    /// Says whether this rule leads now.
    fn add(&mut self, verdict: Verdict, mode: Mode) -> bool {
        let noteworthy = matches!(verdict.decision, Decision::Delay | Decision::Reject);
        if mode == Mode::DryRun {
            if noteworthy && self.dry_run.is_none() {
                self.dry_run = Some(verdict);
            }
            return false;
        }
        let leads = match verdict.decision {
            Decision::Reject => true,
            Decision::Exempt => self.verdict.rule.is_none(),
            Decision::Pass | Decision::Delay => {
                self.verdict.decision == Decision::Exempt || verdict.wait > self.verdict.wait
            }
        };
        if leads {
            self.verdict = verdict;
        }
        leads
    }
}
