import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { verifyCheckpoint } from '@whetstone/core/checkpoint';
import { isWhetstoneError } from '@whetstone/core/contract';
import { withFault, type Fault } from '../support/faulty-files.js';

/** A command that is repeated, each time with a fault in another file operation. */
export interface Scenario {
  /** Writes the files that the command reads. Called once. */
  prepare(root: string): Promise<void>;
  /** Runs the command in a copy of the prepared folder. `again`: after a failure, as a user would run it then. */
  run(root: string, attempt: 'first' | 'again'): Promise<unknown>;
  /** The folders of the result, relative to the root: each is missing or complete. */
  readonly results: readonly string[];
  /** The folders that belong to the command: the next one leaves no temporary file in them. */
  readonly owned: readonly string[];
  /**
   * Whether the command refuses to replace a result. If only the last operation failed, which syncs the folder of a
   * complete result, the next one reports `OUTPUT_EXISTS`.
   */
  readonly keepsResult?: boolean;
}

/** The faults that a sweep goes through. */
export type SweptFault = Omit<Fault, 'at'>;

/** Every kind of fault: once, and from one operation on. */
export const allFaults: readonly SweptFault[] = [
  { kind: 'ENOSPC' },
  { kind: 'ENOSPC', lasting: true },
  { kind: 'EIO' },
  { kind: 'EIO', lasting: true },
  { kind: 'EACCES' },
  { kind: 'EACCES', lasting: true },
  { kind: 'kill' },
];

/** Returns the name of a fault: `EIO` for one operation, `EIO from` for one and all later ones. */
export const faultName = ({ kind, lasting }: SweptFault): string => `${kind}${lasting === true ? ' from' : ''}`;

async function filesIn(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Returns the SHA-256 of every file in the folders; those of an absent folder are missing. */
async function digestOf(root: string, folders: readonly string[]): Promise<Readonly<Record<string, string>>> {
  const digest: Record<string, string> = {};
  for (const folder of folders)
    for (const file of await filesIn(join(root, folder)))
      digest[relative(root, file)] = createHash('sha256')
        .update(await readFile(file))
        .digest('hex');
  return digest;
}

const same = (one: object, other: object): boolean =>
  JSON.stringify(Object.entries(one).toSorted()) === JSON.stringify(Object.entries(other).toSorted());

/** Returns what is wrong with the folders after a failure: a result or a checkpoint that exists but is not complete. */
async function incompleteIn(root: string, scenario: Scenario, expected: object): Promise<readonly string[]> {
  const problems: string[] = [];
  for (const folder of scenario.results) {
    const found = await digestOf(root, [folder]);
    const complete = Object.fromEntries(Object.entries(expected).filter(([file]) => file.startsWith(`${folder}/`)));
    if (Object.keys(found).length > 0 && !same(found, complete)) problems.push(`${folder} is incomplete or differs`);
  }
  for (const folder of scenario.owned)
    for (const file of await filesIn(join(root, folder))) {
      const [checkpoint] = /^.*\/checkpoint-\d+(?=\/manifest\.json$)/.exec(file) ?? [];
      if (checkpoint !== undefined && !/\/\.[^/]+\/[^/]+$/.test(file)) {
        const error: unknown = await verifyCheckpoint(checkpoint).then(
          () => null,
          (reason: unknown) => reason,
        );
        if (error !== null) problems.push(`${relative(root, checkpoint)}: ${String(error)}`);
      }
    }
  return problems;
}

async function leftoversIn(root: string, scenario: Scenario): Promise<readonly string[]> {
  const names: string[] = [];
  for (const folder of scenario.owned)
    for (const name of await readdir(join(root, folder), { recursive: true }).catch(() => []))
      if (/\.(partial|replaced|part)(\/|$)/.test(name)) names.push(`${folder}/${name}`);
  return names;
}

/** The id of a process that has ended. */
const ended = spawnSync(process.execPath, ['--version']).pid;

/** Makes the temporary files of this process those of one that has ended, as after the command that failed. */
async function endProcess(root: string, scenario: Scenario): Promise<void> {
  for (const folder of scenario.owned)
    for (const name of await readdir(join(root, folder)).catch(() => []))
      if (name.includes(`-${process.pid}-`))
        await rename(join(root, folder, name), join(root, folder, name.replace(`-${process.pid}-`, `-${ended}-`)));
}

/** Copies a folder and works in the copy, which always has the same path: some results contain it. */
async function inCopy<T>(template: string, work: (root: string) => Promise<T>): Promise<T> {
  const root = `${template}-copy`;
  try {
    await cp(template, root, { recursive: true });
    return await work(root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** The problems of one command with one fault, and whether the fault occurred. */
async function attempt(
  root: string,
  scenario: Scenario,
  fault: Fault,
  expected: object,
): Promise<{ readonly problems: readonly string[]; readonly occurred: boolean }> {
  const problems: string[] = [];
  const { result, failed } = await withFault(root, fault, () => scenario.run(root, 'first'));
  if ('error' in result && !isWhetstoneError(result.error)) problems.push(`no code: ${String(result.error)}`);
  if ('error' in result && failed === null) problems.push(`failed without a fault: ${String(result.error)}`);
  if ('value' in result && fault.kind !== 'kill' && !same(await digestOf(root, scenario.results), expected))
    problems.push('success, but the result is not complete');
  problems.push(...(await incompleteIn(root, scenario, expected)));
  if ('error' in result) {
    await endProcess(root, scenario);
    const error: unknown = await scenario.run(root, 'again').then(
      () => null,
      (reason: unknown) => reason,
    );
    const exists = scenario.keepsResult === true && isWhetstoneError(error) && error.code === 'OUTPUT_EXISTS';
    if (error !== null && !exists) problems.push(`the next run failed: ${String(error)}`);
    else if (!same(await digestOf(root, scenario.results), expected)) problems.push('the next run has another result');
    problems.push(...(await leftoversIn(root, scenario)).map((name) => `left behind: ${name}`));
  }
  const occurred = failed !== null;
  const where = `${faultName(fault)} ${fault.at}: ${failed ?? 'none'}`;
  return { problems: problems.map((problem) => `${where}: ${problem}`), occurred };
}

/**
 * Runs a command with a fault in each of its file operations, or in every `stride`-th. Afterwards the result is
 * complete, or there is an error with a code and nothing that looks complete; and the next run succeeds. Returns what
 * is not so, and the number of runs.
 */
export async function sweep(
  scenario: Scenario,
  faults: readonly SweptFault[],
  stride = 1,
): Promise<{ readonly problems: readonly string[]; readonly runs: number }> {
  const template = await mkdtemp(join(tmpdir(), 'whetstone-fault-'));
  try {
    await scenario.prepare(template);
    const expected = await inCopy(template, async (root) => {
      await scenario.run(root, 'first');
      return digestOf(root, scenario.results);
    });
    const problems: string[] = [];
    let runs = 0;
    for (const [index, fault] of faults.entries()) {
      // Faults start at different operations, so that together they cover more of them.
      for (let at = index % stride; ; at += stride) {
        const found = await inCopy(template, (root) => attempt(root, scenario, { ...fault, at }, expected));
        problems.push(...found.problems);
        if (!found.occurred) break;
        runs++;
      }
    }
    return { problems, runs };
  } finally {
    await rm(template, { recursive: true, force: true });
  }
}
