import { createRequire } from 'node:module';

type PhoneLibrary = Pick<typeof import('libphonenumber-js'), 'findPhoneNumbersInText'>;

let loaded: PhoneLibrary | null = null;

/** Returns what `scripts/bundle-phone-numbers.mjs` bundles of libphonenumber-js. Loads it at the first call. */
export function phoneLibrary(): PhoneLibrary {
  loaded ??= createRequire(import.meta.url)('@whetstone/data/phone-numbers') as PhoneLibrary;
  return loaded;
}
