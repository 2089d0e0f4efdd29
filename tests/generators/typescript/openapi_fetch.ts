// A session with the types of openapi-typescript and the client openapi-fetch. It prints what session.ts expects.
import createClient from "openapi-fetch";

import { path } from "./paths";
import type { paths } from "./schema";
import { type Answer, runSession } from "./session";

const client = createClient<paths>({ baseUrl: process.argv[2] ?? "" });

/** Returns the parts of an answer that the session compares. */
function read<T>(answer: { data?: T; error?: { code: string }; response: Response }): Answer<T> {
  return {
    status: answer.response.status,
    replayed: answer.response.headers.get("Idempotent-Replayed") === "true",
    data: answer.data,
    code: answer.error?.code,
  };
}

void runSession({
  createUser: async (name) => read(await client.POST(path.createUser, { body: { name } })),
  createTransaction: async (body) => read(await client.POST(path.createTransaction, { body })),
  createTransactions: async (body) => {
    // An array is answered with an array. The type includes the text of an answer to newline-delimited JSON, too.
    const answer = read(await client.POST(path.createTransactions, { body }));
    return { ...answer, data: Array.isArray(answer.data) ? answer.data : undefined };
  },
  getBalance: async (user_id) =>
    read(await client.GET(path.getBalance, { params: { path: { user_id } } })),
  getTransaction: async (uuid) =>
    read(await client.GET(path.getTransaction, { params: { path: { uuid } } })),
  getProof: async (uuid) => read(await client.GET(path.getProof, { params: { path: { uuid } } })),
});
