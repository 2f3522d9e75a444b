import { hookTable, type Callback, type HookName, type RequestName } from '../contract/index.js';

/** Returns whether the handler of a hook can use `control`, the last argument of the hook. */
function takesControl(hook: HookName, member: NonNullable<Callback[HookName]>): boolean {
  if (!hookTable[hook].control) return false;
  const handler: { readonly length: number } = typeof member === 'function' ? member : member.handler;
  const before = hook === 'transformGradients' ? 2 : 1;
  if (handler.length > before) return true;
  // Such functions may receive more arguments than they declare.
  return /^[^=]*\.\.\.|\barguments\b|\[native code\]/.test(Function.prototype.toString.call(handler));
}

/** Returns whether a callback could make a request: one that it declares, or any if a hook takes `control`. */
export function mayRequest(callback: Callback, request: RequestName): boolean {
  if (callback.requests !== undefined) return callback.requests.includes(request);
  return (Object.keys(hookTable) as HookName[]).some((hook) => {
    const member = callback[hook];
    return member !== undefined && takesControl(hook, member);
  });
}
