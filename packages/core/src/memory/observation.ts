import { formatBytes } from '../util/index.js';
import {
  bootOf,
  outOfMemoryKills,
  usedShare,
  type MemoryLimit,
  type MemorySources,
  type OutOfMemoryKills,
} from './limits.js';

/** What was last known about the memory of a process. */
export interface MemoryObservation {
  /** Its resident memory in bytes; null if unknown. */
  readonly residentBytes: number | null;
  /** The limit of which the greatest share was in use; null if none is known. */
  readonly limit: Pick<MemoryLimit, 'origin' | 'limitBytes' | 'usedBytes'> | null;
  /** The boot of the machine on which the kernel counted. */
  readonly boot: string | null;
  readonly kills: readonly OutOfMemoryKills[];
}

/** Returns the present state of the memory of a process with these limits. */
export function observeMemory(
  residentBytes: number | null,
  limits: readonly MemoryLimit[],
  sources?: MemorySources,
): MemoryObservation {
  const [limit = null] = limits.toSorted((one, other) => usedShare(other) - usedShare(one));
  return {
    residentBytes,
    limit: limit && { origin: limit.origin, limitBytes: limit.limitBytes, usedBytes: limit.usedBytes },
    boot: bootOf(sources),
    kills: outOfMemoryKills(sources),
  };
}

/** A limit that a process was expected to exceed. */
export interface ExpectedShortage {
  readonly neededBytes: number;
  readonly usableBytes: number;
  readonly origin: string;
}

/** From this share of a limit on, a process that ended for an unknown reason probably lacked memory. */
const NEARLY_ALL = 0.9;

/** Why a process ended that did not say so, as far as it is known. */
export interface ProbableEnd {
  /** Sentences. */
  readonly text: string;
  /** Whether a lack of memory is the probable reason. */
  readonly isMemory: boolean;
}

/**
 * Explains the end of a process that could not report an error itself: compares what was last observed with what the
 * kernel has counted since. It names a reason only as probable, because the kernel does not record which process it
 * ended. An allocation that fails in a library can end a process long before a limit is reached, so a shortage that was
 * expected counts, too.
 *
 * @param before the last observation while the process ran; null if there is none
 * @param now the counts of the kernel and the boot of the machine after its end
 * @param shortage what was estimated before the first step; null if the memory was expected to suffice
 */
export function explainEnd(
  before: MemoryObservation | null,
  now: Pick<MemoryObservation, 'boot' | 'kills'>,
  shortage: ExpectedShortage | null = null,
): ProbableEnd {
  if (before === null) return { text: 'Why it ended is unknown, and so is its memory.', isMemory: false };
  const used = usageText(before);
  if (before.boot !== now.boot) return { text: `${used}The machine has been restarted since then.`, isMemory: false };
  const killed = firstIncrease(before.kills, now.kills);
  if (killed !== null && killed.where !== MACHINE)
    return {
      text:
        `${used}Since then, the kernel has killed ${processes(killed.count)} in ${killed.where} because its memory ` +
        'was exhausted, so this one was probably killed for lack of memory.',
      isMemory: true,
    };
  const kernel =
    killed === null
      ? ''
      : `Since then, the kernel has killed ${processes(killed.count)} on this machine because its memory was ` +
        'exhausted; it is unknown whether this was one of them. ';
  if (before.limit !== null && usedShare(before.limit) >= NEARLY_ALL)
    return { text: `${used}${kernel}It probably ended for lack of memory.`, isMemory: true };
  if (shortage !== null)
    return {
      text:
        `${used}${kernel}It was expected to need ${formatBytes(shortage.neededBytes)} of the limit ` +
        `${shortage.origin}, of which it could use ${formatBytes(shortage.usableBytes)}, so it probably ended for ` +
        'lack of memory.',
      isMemory: true,
    };
  return { text: `${used}${kernel}Why it ended is unknown.`, isMemory: killed !== null };
}

const MACHINE = 'this machine';

const processes = (count: number): string => (count === 1 ? 'a process' : `${count} processes`);

function usageText({ residentBytes, limit }: MemoryObservation): string {
  const own = residentBytes === null ? '' : `It last used ${formatBytes(residentBytes)} of memory. `;
  if (limit === null) return own;
  const [used, most] = [formatBytes(limit.usedBytes), formatBytes(limit.limitBytes)];
  return `${own}${used} of the limit ${limit.origin}, ${most}, were in use. `;
}

/** Returns by how much the first of the counts has grown; null if none has. */
function firstIncrease(before: readonly OutOfMemoryKills[], now: readonly OutOfMemoryKills[]): OutOfMemoryKills | null {
  for (const { where, count } of now) {
    // A cgroup that did not exist before may have counted the end of anything.
    const earlier = before.find((each) => each.where === where)?.count;
    if (earlier !== undefined && count > earlier) return { where, count: count - earlier };
  }
  return null;
}
