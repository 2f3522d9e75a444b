import { createRequire } from 'node:module';

type PhoneLibrary = Pick<typeof import('libphonenumber-js'), 'findPhoneNumbersInText'>;

let loaded: PhoneLibrary | null = null;

/** Returns the bundle of libphonenumber-js (see `scripts/bundle-phone-numbers.mjs`), loaded at the first call. */
export function phoneLibrary(): PhoneLibrary {
  loaded ??= createRequire(import.meta.url)('@whetstone/data/phone-numbers') as PhoneLibrary;
  return loaded;
}
