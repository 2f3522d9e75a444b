import { spawn, type ChildProcess } from 'node:child_process';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { errorCodes, WhetstoneError, type Json, type Problem } from '@whetstone/core/contract';
import { createClusterToken, TOKEN_VARIABLE } from '@whetstone/core/distributed';
import { continueWithoutOutput } from '@whetstone/core/files';
import {
  bootOf,
  explainEnd,
  observeMemory,
  outOfMemoryKills,
  residentBytesOf,
  sharedLimits,
  type MemoryObservation,
} from '@whetstone/core/memory';
import { endingSignals, newSignals, savingSignals } from './interrupt.js';
import { LAUNCHED_VARIABLE, sendSignal, type ToldError } from './launched.js';
import { errorAsText, type Terminal } from './terminal.js';

/** How a worker ended. */
interface Ending {
  readonly rank: number;
  readonly exitCode: number;
  readonly signal: NodeJS.Signals | null;
  readonly told: ToldError['error'] | null;
  /** Whether the launcher had already asked the worker to end, because another one failed. */
  readonly isAfterFailure: boolean;
  /** What is known about the end of a worker that the system ended; null if it ended by itself. */
  readonly explanation: string | null;
}

/** Seconds that the other workers have to notice a failure, and to exit after a signal. */
const GRACE_SECONDS = 15;
/** Seconds until the last message of a worker that has ended arrives. */
const CHANNEL_SECONDS = 1;
/** Seconds that the workers have to end after a second SIGINT or SIGTERM. */
const END_SECONDS = 2;
/** The interval in which the memory of the workers is observed. */
const OBSERVE_MILLISECONDS = 1000;

/**
 * Starts `count` processes of this command as the workers of one run, and waits for all of them. Worker 0 has the
 * terminal. The standard error of the others is shown with their rank. Each signal is forwarded once to all.
 *
 * @param parameters the command line of each worker
 * @throws the error of the failed worker, with its rank; `INTERRUPTED` if they were interrupted
 */
export async function launchWorkers(count: number, parameters: readonly string[], terminal: Terminal): Promise<void> {
  const addresses = await freeAddresses(count);
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  const token = createClusterToken();
  const children = addresses.map((_, rank) =>
    startWorker(rank, [...process.execArgv, main, ...parameters], addresses, token),
  );
  const running = new Set(children);
  const memory = observeWorkers(children);
  const sendAll = (signal: NodeJS.Signals): void => {
    if (signal === 'SIGKILL') memory.close();
    for (const child of running) sendSignal(child, signal);
  };
  const timers: NodeJS.Timeout[] = [];
  const forwarding = forwardSignals(sendAll, timers);
  let isEnding = false;
  try {
    const endings = await Promise.all(
      children.map(async (child, rank) => {
        if (rank > 0 && child.stderr !== null)
          createInterface({ input: child.stderr }).on('line', (line) => terminal.complain(`worker ${rank}: ${line}`));
        const ending = await endingOf(child, rank, memory, () => isEnding);
        running.delete(child);
        // The others notice a lost worker, unless it failed before the rendezvous.
        if (ending.exitCode !== 0 && ending.exitCode !== errorCodes.INTERRUPTED.exitCode && !isEnding) {
          isEnding = true;
          timers.push(
            setTimeout(() => sendAll('SIGTERM'), GRACE_SECONDS * 1000),
            setTimeout(() => sendAll('SIGKILL'), 2 * GRACE_SECONDS * 1000),
          );
        }
        return ending;
      }),
    );
    if (forwarding.endsAtOnce() && endings.some(({ exitCode }) => exitCode !== 0))
      throw new WhetstoneError('INTERRUPTED', 'The workers were interrupted twice and ended at once.', {
        hint: 'Resume from the last checkpoint with --resume.',
      });
    conclude(endings, terminal);
  } finally {
    for (const timer of timers) clearTimeout(timer);
    memory.close();
    forwarding.close();
  }
}

interface Forwarding {
  /** Whether a second signal has ended the workers at once. */
  endsAtOnce(): boolean;
  close(): void;
}

/** Forwards each signal once. After the second one that ends a run, workers that do not end are killed. */
function forwardSignals(sendAll: (signal: NodeJS.Signals) => void, timers: NodeJS.Timeout[]): Forwarding {
  const isNew = newSignals();
  let endings = 0;
  const forward = (signal: NodeJS.Signals): void => {
    if (!isNew(signal)) return;
    // The terminal can be gone.
    if (signal === 'SIGHUP') continueWithoutOutput();
    sendAll(signal);
    if (!endingSignals.some((each) => each === signal)) return;
    endings++;
    if (endings === 2) timers.push(setTimeout(() => sendAll('SIGKILL'), END_SECONDS * 1000));
  };
  const signals = [...endingSignals, ...savingSignals];
  for (const signal of signals) process.on(signal, forward);
  return {
    endsAtOnce: () => endings > 1,
    close: () => {
      for (const signal of signals) process.off(signal, forward);
    },
  };
}

/** Returns distinct free ports of the loopback interface. */
async function freeAddresses(count: number): Promise<string[]> {
  const servers: Server[] = [];
  for (let rank = 0; rank < count; rank++) {
    const server = createServer();
    servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port: 0, host: '127.0.0.1' }, resolve);
    });
  }
  const addresses = servers.map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return addresses;
}

function startWorker(
  rank: number,
  parameters: readonly string[],
  addresses: readonly string[],
  token: string,
): ChildProcess {
  return spawn(process.execPath, parameters, {
    env: {
      ...process.env,
      [LAUNCHED_VARIABLE]: '1',
      [TOKEN_VARIABLE]: token,
      TF_CONFIG: JSON.stringify({ cluster: { worker: addresses }, task: { type: 'worker', index: rank } }),
    },
    stdio: rank === 0 ? ['ignore', 'inherit', 'inherit', 'ipc'] : ['ignore', 'ignore', 'pipe', 'ipc'],
    // Own process groups: Ctrl-C reaches only the launcher, which forwards it once.
    detached: true,
    windowsHide: true,
  });
}

/** Observes the memory of the workers while they run. */
interface MemoryObserver {
  /** Explains the end of a worker by SIGKILL; null after `close`, because the launcher itself sends that signal. */
  explain(child: ChildProcess): string | null;
  close(): void;
}

function observeWorkers(children: readonly ChildProcess[]): MemoryObserver {
  const last = new Map<ChildProcess, MemoryObservation>();
  let isClosed = false;
  const observe = (): void => {
    const observed = observeMemory(null, sharedLimits());
    for (const child of children) {
      const residentBytes = child.pid === undefined ? null : residentBytesOf(child.pid);
      if (residentBytes !== null) last.set(child, { ...observed, residentBytes });
    }
  };
  observe();
  const timer = setInterval(observe, OBSERVE_MILLISECONDS);
  return {
    explain: (child) =>
      isClosed ? null : explainEnd(last.get(child) ?? null, { boot: bootOf(), kills: outOfMemoryKills() }).text,
    close() {
      isClosed = true;
      clearInterval(timer);
    },
  };
}

function endingOf(child: ChildProcess, rank: number, memory: MemoryObserver, isEnding: () => boolean): Promise<Ending> {
  let told: ToldError['error'] | null = null;
  child.on('message', (message) => {
    // The first error is the cause of later ones.
    told ??= (message as ToldError).error;
  });
  return new Promise((resolve) => {
    child.once('error', (error) =>
      resolve({
        rank,
        exitCode: 1,
        signal: null,
        told: { code: 'INTERNAL', message: `It could not be started: ${error.message}` },
        isAfterFailure: false,
        explanation: null,
      }),
    );
    child.once('close', (code, signal) => {
      const explanation = signal === 'SIGKILL' ? memory.explain(child) : null;
      const end = (): void => {
        const isAfterFailure = isEnding() && signal !== null;
        resolve({ rank, exitCode: code ?? 1, signal, told, isAfterFailure, explanation });
      };
      if (!child.connected) return end();
      // Its last message may still be in the channel.
      const timer = setTimeout(end, CHANNEL_SECONDS * 1000);
      child.once('disconnect', () => {
        clearTimeout(timer);
        end();
      });
    });
  });
}

/** Whether a worker ended only because another one did. */
const isConsequence = ({ told, exitCode, signal, isAfterFailure }: Ending): boolean =>
  told === null
    ? isAfterFailure || signal === 'SIGTERM' || (signal === null && exitCode === 130)
    : told.code === 'WORKER_LOST' || told.code === 'WORKER_FAILED' || told.code === 'INTERRUPTED';

/** Whether a worker repeats the error that another one sent before it ended. */
const repeatsError = ({ told }: Ending): boolean =>
  told?.code === 'WORKER_FAILED' &&
  (told as unknown as { readonly details?: { readonly code?: Json } }).details?.code !== undefined;

/**
 * Throws the error of the workers unless all succeeded. A worker that failed by itself comes before those that only
 * lost it, and one that reported its error before one that only ended.
 */
function conclude(endings: readonly Ending[], terminal: Terminal): void {
  const failed = endings.filter(({ exitCode, signal }) => exitCode !== 0 || signal !== null);
  if (failed.length === 0) return;
  const interrupted = failed.find(({ told }) => told?.code === 'INTERRUPTED');
  if (interrupted !== undefined && failed.every(({ exitCode, signal }) => exitCode === 130 && signal === null))
    throw errorOf(interrupted, false);
  const own = failed.filter((ending) => !isConsequence(ending));
  const reported = own.filter(({ told }) => told !== null);
  const repeated = reported.length > 0 ? [] : failed.filter(repeatsError).slice(0, 1);
  const byWeight = [...reported, ...repeated, ...own.filter(({ told }) => told === null)];
  const [first = failed[0] as Ending, ...others] = byWeight;
  const textOf = (ending: Ending): string => JSON.stringify(ending.told);
  // All workers report the same configuration error.
  const shared =
    own.length === endings.length && own.every((ending) => ending.told !== null && textOf(ending) === textOf(first));
  if (!shared)
    for (const ending of others.toReversed()) terminal.complain(errorAsText(errorOf(ending, true), terminal.paint));
  throw errorOf(first, !shared && first.told?.code !== 'WORKER_LOST' && !repeatsError(first));
}

function errorOf({ rank, exitCode, signal, told, explanation }: Ending, named: boolean): WhetstoneError {
  if (told === null || told.code === undefined) {
    const how = signal === null ? `ended with exit code ${exitCode}` : `was ended by the signal ${signal}`;
    return new WhetstoneError(
      exitCode === 130 && signal === null ? 'INTERRUPTED' : 'WORKER_LOST',
      `Worker ${rank} ${how}.${explanation === null ? '' : ` ${explanation}`}`,
      { details: { workers: [rank] }, hint: 'Resume from the last checkpoint with --resume.' },
    );
  }
  const { code, message, ...rest } = told as unknown as Problem & {
    readonly code: WhetstoneError['code'];
    readonly problems?: readonly Problem[];
  };
  return new WhetstoneError(code, named ? `Worker ${rank}: ${message}` : message, rest);
}
