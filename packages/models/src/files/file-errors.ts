export { fileError } from '@whetstone/core/files';
