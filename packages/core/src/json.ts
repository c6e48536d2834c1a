/** What can be stored with a message and read back after a restart. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }
