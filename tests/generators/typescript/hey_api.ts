// A session with the client that hey-api generates. It prints what session.ts expects.
import { client } from "./hey_api_client/client.gen";
import {
  createTransaction,
  createTransactions,
  createUser,
  getBalance,
  getProof,
  getTransaction,
} from "./hey_api_client/sdk.gen";
import { type Answer, runSession } from "./session";

client.setConfig({ baseUrl: process.argv[2] ?? "" });

/** Returns the parts of an answer that the session compares. */
function read<T>(answer: { data?: T; error?: { code: string }; response?: Response }): Answer<T> {
  return {
    status: answer.response?.status ?? 0,
    replayed: answer.response?.headers.get("Idempotent-Replayed") === "true",
    data: answer.data,
    code: answer.error?.code,
  };
}

void runSession({
  createUser: async (name) => read(await createUser({ body: { name } })),
  createTransaction: async (body) => read(await createTransaction({ body })),
  createTransactions: async (body) => read(await createTransactions({ body })),
  getBalance: async (user_id) => read(await getBalance({ path: { user_id } })),
  getTransaction: async (uuid) => read(await getTransaction({ path: { uuid } })),
  getProof: async (uuid) => read(await getProof({ path: { uuid } })),
});
