import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The line that a peer's script prints: its own names and units. */
export type PeerLine = Readonly<Record<string, unknown>>;

/**
 * Runs a program to its end, its messages on our standard error. Returns the JSON line that it prints last; without
 * one, or with another exit code than 0, it has failed.
 */
export async function lastLineOf(
  program: string,
  parameters: readonly string[],
  environment: NodeJS.ProcessEnv = process.env,
): Promise<PeerLine> {
  const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'inherit'], env: environment });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  const line = output
    .trim()
    .split('\n')
    .findLast((text) => text.startsWith('{'));
  if (code !== 0 || line === undefined)
    throw new Error(
      `${[program, ...parameters.slice(0, 1)].join(' ')} ended with exit code ` +
        `${code}${line === undefined ? ' and printed no result' : ''}.`,
    );
  return JSON.parse(line) as PeerLine;
}

/**
 * Runs one of the peers' scripts of `bench/peers` to its end and returns the JSON line that it prints last.
 *
 * @param python a Python that has torch, transformers, peft and trl
 */
export async function runPeer(python: string, script: string, parameters: readonly string[]): Promise<PeerLine> {
  const file = fileURLToPath(new URL(`../peers/${script}`, import.meta.url));
  return lastLineOf(python, [file, ...parameters], { ...process.env, TOKENIZERS_PARALLELISM: 'false' });
}

export function numberOf(line: PeerLine, name: string): number {
  const value = line[name];
  if (typeof value !== 'number') throw new Error(`The peer's line has no number ${name}: ${JSON.stringify(line)}`);
  return value;
}
