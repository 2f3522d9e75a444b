import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { findTensorflow } from '@whetstone/backend/install';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { configurations, KEPT, writeProject, type Configuration } from './configurations.js';
import { contentsOf, verifyFolders } from './contents.js';
import { phases, type ChildParameters, type Phase } from './phases.js';
import { runUntil, type Ended, type Moment, type Victim } from './processes.js';

/*
 * Runs are killed (SIGKILL) at random moments and resumed in a new process until they end. What they leave must equal
 * what an unbroken run leaves. `npm run test:kills` kills 200 times; the normal suite twice.
 */
const setting = (name: string, otherwise: string): string => process.env[`WHETSTONE_TEST_KILLS${name}`] ?? otherwise;
const count = Number(setting('', '2'));
const seed = Number(setting('_SEED', '1'));
const only = setting('_ONLY', '');
const isSample = setting('', '') === '';

// Inside node_modules, so that git ignores the file.
const script = fileURLToPath(new URL(`../../node_modules/.whetstone-tests/kills-${process.pid}.cjs`, import.meta.url));
const main = fileURLToPath(new URL('../../packages/cli/bin/whetstone.js', import.meta.url));

/** Keeps the places of the files in a bundle: some read others that are next to them. */
const ownPlaces: Plugin = {
  name: 'own-places',
  setup({ onLoad }) {
    onLoad({ filter: /\.(m?js|ts)$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      const contents = text.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href));
      return { contents, loader: path.endsWith('.ts') ? 'ts' : 'js' };
    });
  },
};

// One file starts in half the time.
beforeAll(() =>
  build({
    entryPoints: [fileURLToPath(new URL('child.ts', import.meta.url))],
    outfile: script,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    alias: { 'jsonc-parser': 'jsonc-parser/lib/esm/main.js' },
    external: ['koffi'],
    // tfjs-core must be evaluated before the gradients are registered.
    ignoreAnnotations: true,
    plugins: [ownPlaces],
    logLevel: 'error',
  }),
);
afterAll(() => rm(script, { force: true }));

/** Returns random numbers from 0 to 1 that a seed and a name decide: mulberry32 from the name's FNV-1a. */
function randomOf(name: string): () => number {
  let state = [...`${seed} ${name}`].reduce(
    (hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 16777619),
    2166136261,
  );
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const never: Moment = { operation: null, line: -1, milliseconds: 0, victim: 'all' };

/** Starts or resumes the run of a project, and kills it at a moment. */
async function run(
  project: string,
  { evaluates, processes = 1 }: Configuration,
  resume: boolean,
  moment: Moment,
): Promise<Ended> {
  if (processes > 1) {
    const parameters = [main, 'train', 'run.json', '--processes', String(processes), ...(resume ? ['--resume'] : [])];
    return runUntil(parameters, project, moment);
  }
  const parameters: ChildParameters = { project, evaluates, resume, operation: moment.operation };
  return runUntil([script, JSON.stringify(parameters)], project, moment);
}

/** What killing the runs of one configuration found. */
interface Found {
  readonly kills: Record<Phase, number>;
  readonly runs: number;
  readonly problems: readonly string[];
}

/** The kills of one run at most: it is to make progress. */
const MOST_KILLS = 6;

/** Returns a moment before about the last third of an unbroken run: a resumed one is shorter. */
function randomMoment(random: () => number, operations: number, lines: number, victim: Victim): Moment {
  if (operations > 0 && random() < 0.5) return { ...never, operation: Math.floor(random() * operations * 0.6) };
  return { operation: null, line: Math.floor(random() * lines * 0.7), milliseconds: random() * 40, victim };
}

/** Returns what is wrong with the end of a run one of whose processes was killed: the others end with an error. */
function problemsOfOthers({ victim }: Moment, { errors, overdue, phase }: Ended): readonly string[] {
  if (victim === 'all') return [];
  // Workers that have lost their launcher may already have ended with a result.
  const expected = victim === 'launcher' ? /^(?!.*\[INTERNAL\])/s : /\[WORKER_LOST\]/;
  return [
    ...(overdue > 0 ? [`${overdue} processes did not end`] : []),
    ...(expected.test(errors) || phase === 'end' ? [] : [`another error:\n${errors}`]),
  ];
}

/** Kills the runs of one configuration a number of times. Each run is resumed until it ends, and compared then. */
async function killAndCompare(
  project: string,
  configuration: Configuration,
  random: () => number,
  wanted: number,
): Promise<Found> {
  await writeProject(project, configuration);
  const folder = join(project, 'run');
  const contents = async (): Promise<Readonly<Record<string, unknown>>> => {
    const isTimed = (configuration.processes ?? 1) > 1;
    const kept = await contentsOf(join(project, KEPT), isTimed);
    return { ...(await contentsOf(folder, isTimed)), [KEPT]: kept };
  };
  const unbroken = await run(project, configuration, false, never);
  if (unbroken.code !== 0) throw new Error(`The unbroken run failed:\n${unbroken.errors}`);
  const entered = new Set(unbroken.lines);
  const missing = phases.filter((phase) => (configuration.processes ?? 1) === 1 && !entered.has(phase));
  if (missing.length > 0) throw new Error(`The unbroken run did not report these phases: ${missing.join(', ')}`);
  const expected = await contents();
  await verifyFolders(folder);
  const operations = Number(/operations (\d+)/.exec(unbroken.lines.join('\n'))?.[1] ?? 0);
  const kills = Object.fromEntries(phases.map((phase) => [phase, 0])) as Record<Phase, number>;
  const problems: string[] = [];
  let left = wanted;
  let runs = 0;
  const nextMoment = (isLast: boolean): Moment => {
    const { victims = ['all'] } = configuration;
    const victim = victims[(wanted - left) % victims.length] ?? 'all';
    return isLast ? never : randomMoment(random, operations, unbroken.lines.length, victim);
  };
  while (left > 0 && problems.length === 0) {
    await rm(folder, { recursive: true, force: true });
    for (const name of await readdir(join(project, KEPT))) await rm(join(project, KEPT, name));
    runs++;
    for (let start = 0; ; start++) {
      const moment = nextMoment(start === MOST_KILLS || left === 0);
      const ended = await run(project, configuration, start > 0, moment);
      const { killed, code, phase, errors } = ended;
      const where = `run ${runs}, start ${start + 1}, ${JSON.stringify(moment)}, ${phase}`;
      if (!killed) {
        if (code !== 0) problems.push(`${where}: exit code ${code}\n${errors}`);
        break;
      }
      left--;
      kills[phase]++;
      problems.push(...problemsOfOthers(moment, ended).map((problem) => `${where}: ${problem}`));
      await verifyFolders(folder).catch((error: unknown) => problems.push(`${where}: ${String(error)}`));
    }
    if (problems.length === 0) problems.push(...differences(expected, withoutMore(await contents(), expected)));
  }
  return { kills, runs, problems };
}

/** Returns the files without those of checkpoints that only workers that lost their launcher have written. */
function withoutMore(
  found: Readonly<Record<string, unknown>>,
  expected: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const checkpointOf = (name: string): string | undefined => /^checkpoint-\d+(?=\/)/.exec(name)?.[0];
  const checkpoints = new Set(Object.keys(expected).map(checkpointOf));
  return Object.fromEntries(Object.entries(found).filter(([name]) => checkpoints.has(checkpointOf(name))));
}

/** The characters before and after a difference that are reported. */
const AROUND = 150;

/** Returns the files that differ, with the first difference. */
function differences(expected: Readonly<Record<string, unknown>>, found: Readonly<Record<string, unknown>>): string[] {
  return [...new Set([...Object.keys(expected), ...Object.keys(found)])].flatMap((name) => {
    const [one, other] = [expected[name], found[name]].map((each) => JSON.stringify(each) ?? 'missing');
    if (one === undefined || other === undefined || one === other) return [];
    const at = [...one].findIndex((letter, index) => letter !== other[index]);
    const [from, to] = [Math.max(0, at - AROUND), at + AROUND];
    return [`${name} differs: expected …${one.slice(from, to)}…, found …${other.slice(from, to)}…`];
  });
}

const library = await findTensorflow();
if (!isSample && !('folder' in library))
  console.warn('Runs of several processes are not killed: fetch libtensorflow with npx whetstone backend install cpu');
const runnable = Object.entries(configurations).filter(
  ([name, { processes = 1 }]) => name.includes(only) && (processes === 1 || 'folder' in library),
);
const chosen = isSample ? runnable.filter(([name]) => name === 'LoRA, packed, early stopping') : runnable;

it.each(chosen.map(([name], index) => [name, index] as const))(
  '%s: runs that are killed and resumed leave what an unbroken run leaves',
  { timeout: 3_600_000 },
  async (name, index) => {
    const configuration = configurations[name];
    if (configuration === undefined) throw new Error(`There is no configuration ${name}.`);
    const wanted = Math.floor((count * (index + 1)) / chosen.length) - Math.floor((count * index) / chosen.length);
    const project = await mkdtemp(join(tmpdir(), 'whetstone-kills-'));
    const { kills, runs, problems } = await killAndCompare(project, configuration, randomOf(name), wanted);
    const fell = phases.map((phase) => `${phase} ${kills[phase]}`).join(', ');
    if (!isSample) process.stderr.write(`${name}: ${wanted} kills of ${runs} runs, seed ${seed} (${fell})\n`);
    if (problems.length === 0) await rm(project, { recursive: true });
    const settings = { '': wanted, _SEED: seed, _ONLY: `'${name}'` };
    const repeat = Object.entries(settings).map(([key, value]) => `WHETSTONE_TEST_KILLS${key}=${value} `);
    expect(problems, `The files are in ${project}. Repeat: ${repeat.join('')}npm run test:kills`).toEqual([]);
  },
);
