// The store that all views of this page share.

import { Store } from "./store.js";

export const store = new Store();
