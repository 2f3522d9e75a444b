// Type tests: the build checks them; they never run.
import type { Callback, CallbackMember, Control, HookName, HookSignatures, hookTable } from './index.js';

/** Fails to compile if the hook table and the signatures name different hooks. */
type SameKeys = [HookName] extends [keyof HookSignatures]
  ? [keyof HookSignatures] extends [HookName]
    ? true
    : never
  : never;
type TakesControl<K extends HookName> =
  Parameters<HookSignatures[K]> extends readonly [...unknown[], Control] ? true : false;
type SameControl = { [K in HookName]: TakesControl<K> extends (typeof hookTable)[K]['control'] ? never : K }[HookName];
export const hooksMatchTable: [SameKeys, SameControl] extends [true, never] ? true : never = true;

/** Fails to compile if {@link CallbackMember} and the members of {@link Callback} differ. */
type OwnMember = Exclude<keyof Callback, HookName>;
export const membersMatchCallback: [OwnMember, CallbackMember] extends [CallbackMember, OwnMember] ? true : never =
  true;
