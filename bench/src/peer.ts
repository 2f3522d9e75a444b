import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The JSON object that a measuring process prints last, in its own names and units. */
export type PeerLine = Readonly<Record<string, unknown>>;

/**
 * Runs a program to its end; its messages go to our standard error. Returns the JSON object that it prints last.
 *
 * @throws if it ends with an exit code other than 0, or prints no object
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
 * Runs one of the scripts of `bench/peers` and returns the JSON object that it prints last.
 *
 * @param python a Python that has the packages of the script
 */
export async function runPeer(python: string, script: string, parameters: readonly string[]): Promise<PeerLine> {
  const file = fileURLToPath(new URL(`../peers/${script}`, import.meta.url));
  return lastLineOf(python, [file, ...parameters], { ...process.env, TOKENIZERS_PARALLELISM: 'false' });
}

/**
 * Runs a command of the bench in a process of its own, with the hidden option `--one` that measures one thing once and
 * prints it as JSON. Memory, compiled functions and caches are then those of that measurement alone.
 */
export async function runOnce(command: string, flags: Flags): Promise<PeerLine> {
  return lastLineOf(process.execPath, [
    fileURLToPath(new URL('./main.js', import.meta.url)),
    command,
    ...toParameters(flags),
  ]);
}

export type Flags = Readonly<Record<string, string | number | boolean | undefined>>;

/** Command-line parameters: `true` is a flag without a value; `false` and `undefined` are left out. */
export const toParameters = (flags: Flags): string[] =>
  Object.entries(flags).flatMap(([name, value]) => {
    if (value === undefined || value === false) return [];
    return value === true ? [`--${name}`] : [`--${name}`, String(value)];
  });

export function numberOf(line: PeerLine, name: string): number {
  const value = line[name];
  if (typeof value !== 'number') throw new Error(`The peer's line has no number ${name}: ${JSON.stringify(line)}`);
  return value;
}
