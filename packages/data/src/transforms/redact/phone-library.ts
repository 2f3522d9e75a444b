import { createRequire } from 'node:module';
import { join } from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';

type PhoneLibrary = Pick<typeof import('libphonenumber-js'), 'findPhoneNumbersInText'>;

const NAME = 'libphonenumber-js';

let loaded: PhoneLibrary | null = null;

/**
 * Returns `libphonenumber-js`, an optional peer dependency: it is large, and only redaction of phone numbers needs it.
 *
 * @throws {WhetstoneError} PLUGIN_FAILED if it is not installed beside this package or in the working directory.
 */
export function phoneLibrary(): PhoneLibrary {
  loaded ??= loadPhoneLibrary([import.meta.url, join(process.cwd(), 'package.json')]);
  return loaded;
}

/** Loads the library from the first of these modules that can resolve it. */
export function loadPhoneLibrary(from: readonly string[]): PhoneLibrary {
  let cause: unknown;
  for (const module of from) {
    const require = createRequire(module);
    try {
      return require(require.resolve(NAME)) as PhoneLibrary;
    } catch (error) {
      cause ??= error;
    }
  }
  throw new WhetstoneError(
    'PLUGIN_FAILED',
    `Finding phone numbers needs the package ${NAME}, which cannot be loaded.`,
    {
      hint: `Run "npm install ${NAME}", or leave "phone" out of the option "kinds".`,
      cause,
    },
  );
}
