import { WhetstoneError, isWhetstoneError, type Attachment } from '../contract/index.js';
import { describeFound, isRecord, isTensorLike, messageOf } from '../util/index.js';

type Member = keyof Attachment;

/** What a member must return; members that return nothing must not return a promise. */
interface Result {
  readonly expected: string;
  readonly isValid: (value: unknown) => boolean;
}

const isSource = (value: unknown): boolean =>
  isRecord(value) &&
  typeof value['epoch'] === 'function' &&
  typeof value['batchesPerEpoch'] === 'number' &&
  isRecord(value['summary']);

const results: Partial<Record<Member, Result>> = {
  trainAll: { expected: 'a function that undoes it', isValid: (value) => typeof value === 'function' },
  learningRateScale: {
    expected: 'a finite number of at least 0',
    isValid: (value) => typeof value === 'number' && Number.isFinite(value) && value >= 0,
  },
  penalty: {
    expected: 'a float32 scalar',
    isValid: (value) => isTensorLike(value) && value.shape.length === 0 && value.dtype === 'float32',
  },
  wrapData: { expected: 'a source of batches with epoch, batchesPerEpoch and summary', isValid: isSource },
  effectiveWeights: { expected: 'a Map of weights by name', isValid: (value) => value instanceof Map },
};

const returnsNothing: ReadonlySet<Member> = new Set(['beforeStep', 'afterUpdate', 'merge', 'loadState', 'dispose']);

/**
 * Calls a member of an attachment.
 *
 * @throws `PLUGIN_FAILED` that names the member if it throws another error than a `WhetstoneError`
 */
export function callMember<T>(plugin: string, member: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('PLUGIN_FAILED', `${member} of strategy '${plugin}' failed: ${messageOf(cause)}`, {
      details: { plugin, kind: 'strategy' },
      cause,
    });
  }
}

/** Throws if a member returned something else than its result: it would train other numbers, or nothing. */
function checkResult(plugin: string, member: Member, value: unknown): void {
  const isLost = returnsNothing.has(member) && value instanceof Promise;
  const result = results[member];
  if (!isLost && result?.isValid(value) !== false) return;
  // The promise is not awaited; its rejection must not end the process.
  if (value instanceof Promise) void value.catch(() => undefined);
  throw new WhetstoneError('PLUGIN_FAILED', `${member} of strategy '${plugin}' returned an invalid result.`, {
    place: { path: `${member}()` },
    expected: result?.expected ?? 'no promise: it is not awaited',
    found: describeFound(value),
    details: { plugin, kind: 'strategy' },
  });
}

/**
 * Returns an attachment that calls the members of another one, and checks each result. Errors name the strategy and the
 * member.
 */
export function guardAttachment(plugin: string, attachment: Attachment, members: readonly Member[]): Attachment {
  const guarded = {};
  for (const name of members) {
    const member = attachment[name];
    if (member === undefined && name !== 'masters') continue;
    const property: PropertyDescriptor =
      typeof member === 'function'
        ? {
            value: (...values: readonly unknown[]): unknown => {
              const returned = callMember(plugin, name, (): unknown => Reflect.apply(member, attachment, values));
              checkResult(plugin, name, returned);
              return returned;
            },
          }
        : { get: () => attachment[name] };
    Object.defineProperty(guarded, name, { enumerable: true, ...property });
  }
  return guarded as Attachment;
}
