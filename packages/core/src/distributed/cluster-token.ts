import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { WhetstoneError } from '../contract/errors.js';

/** The environment variable with the secret that the processes of a run share. */
export const TOKEN_VARIABLE = 'WHETSTONE_CLUSTER_TOKEN';

const MIN_LENGTH = 16;

/** Returns a new secret for the processes of a run. */
export const createClusterToken = (): string => randomBytes(32).toString('hex');

/**
 * Returns the secret that the processes of a run share, or null if the environment has none.
 *
 * @throws `CONFIG_INVALID` if it is shorter than 16 characters
 */
export function clusterToken(environment: Readonly<Record<string, string | undefined>> = process.env): string | null {
  const token = environment[TOKEN_VARIABLE] ?? '';
  if (token === '') return null;
  if (token.length < MIN_LENGTH)
    throw new WhetstoneError('CONFIG_INVALID', `The secret in ${TOKEN_VARIABLE} is too short.`, {
      place: { path: TOKEN_VARIABLE },
      expected: `at least ${MIN_LENGTH} characters`,
      found: `${token.length}`,
      hint: 'Make one with: openssl rand -hex 32',
    });
  return token;
}

/** Returns a random text that makes the proofs of one connection different from those of all others. */
export const createNonce = (): string => randomBytes(16).toString('hex');

/** What a proof is about. */
export interface ProofSubject {
  readonly role: 'chief' | 'worker';
  readonly cluster: string;
  readonly rank: number;
  readonly chiefNonce: string;
  readonly workerNonce: string;
}

/** Returns the proof that its sender knows the token, which itself is never sent: an HMAC-SHA-256, in hexadecimal. */
export function proofOf(token: string, subject: ProofSubject): string {
  const { role, cluster, rank, chiefNonce, workerNonce } = subject;
  return createHmac('sha256', token)
    .update(JSON.stringify([role, cluster, rank, chiefNonce, workerNonce]))
    .digest('hex');
}

/** Returns whether a proof is the expected one. The time does not depend on where they differ. */
export function isProofOf(token: string, subject: ProofSubject, proof: string): boolean {
  const expected = Buffer.from(proofOf(token, subject));
  const found = Buffer.from(proof);
  return expected.length === found.length && timingSafeEqual(expected, found);
}

/** Returns the error of a process whose token is missing or differs. It shows no token. */
export const tokenMismatch = (message: string): WhetstoneError =>
  new WhetstoneError('CLUSTER_TOKEN_MISMATCH', message, {
    place: { path: TOKEN_VARIABLE },
    hint: `Set ${TOKEN_VARIABLE} to the same secret in all processes of the run, or in none.`,
  });
