// The session that both TypeScript clients have with a service. It prints what it saw as one JSON object, which
// tests/generators/test_clients.py compares.
import { randomUUID } from "node:crypto";

/** An answer: its data, or the code of its problem. */
export interface Answer<T> {
  status: number;
  replayed: boolean;
  data?: T | undefined;
  code?: string | undefined;
}

export interface NewTransaction {
  uuid: string;
  type: "DEPOSIT" | "WITHDRAW";
  amount: string;
  user_id: number;
}

/** The calls of the session, with the fields that it reads. The types of the generated clients must fit them. */
export interface Calls {
  createUser(name: string): Promise<Answer<{ id: number }>>;
  createTransaction(body: NewTransaction): Promise<Answer<{ balance: string }>>;
  createTransactions(body: NewTransaction[]): Promise<Answer<{ code: string }[]>>;
  getBalance(userId: number): Promise<Answer<{ balance: string }>>;
  getTransaction(uuid: string): Promise<Answer<{ outcome: string }>>;
  getProof(uuid: string): Promise<Answer<{ entry: { amount: number } }>>;
}

/** Reads a proof. The entry is sealed soon after it is recorded; until then the answer is 409. */
async function readProof(calls: Calls, uuid: string): Promise<number | undefined> {
  for (;;) {
    const proof = await calls.getProof(uuid);
    if (proof.code !== "not_sealed_yet") {
      return proof.data?.entry.amount;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export async function runSession(calls: Calls): Promise<void> {
  const user = await calls.createUser(`user ${randomUUID()}`);
  const user_id = user.data?.id ?? 0;
  const deposit: NewTransaction = {
    uuid: randomUUID(),
    type: "DEPOSIT",
    amount: "30000000.00",
    user_id,
  };
  const withdrawal: NewTransaction = {
    uuid: randomUUID(),
    type: "WITHDRAW",
    amount: "30000000.01",
    user_id,
  };
  const first = await calls.createTransaction(deposit);
  const second = await calls.createTransaction(deposit);
  const refused = await calls.createTransaction(withdrawal);
  const bulk = await calls.createTransactions([
    { ...deposit, uuid: randomUUID(), amount: "0.05" },
    { ...withdrawal, uuid: randomUUID(), amount: "40000000.00" },
  ]);
  const balance = await calls.getBalance(user_id);
  const recorded = await calls.getTransaction(withdrawal.uuid);
  const missing = await calls.getTransaction(randomUUID());
  console.log(
    JSON.stringify({
      created: user.status,
      posted: [first.status, first.replayed, first.data?.balance],
      repeated: [second.status, second.replayed],
      equal: JSON.stringify(first.data) === JSON.stringify(second.data),
      refused: [refused.status, refused.code],
      bulk: [bulk.status, bulk.data?.map((outcome) => outcome.code)],
      balance: balance.data?.balance,
      recorded: recorded.data?.outcome,
      missing: [missing.status, missing.code],
      proven: await readProof(calls, deposit.uuid),
    }),
  );
}
