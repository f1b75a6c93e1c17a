// The libraries of the page in one place, so that the other scripts name no version.

import { Component, h, render } from "./vendor/preact-11.2.0.js";
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "./vendor/preact-hooks-11.2.0.js";
import htm from "./vendor/htm-3.1.1.js";

export const html = htm.bind(h);
export { Component, render, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState };

/** The charting library is large, and read when the first chart is drawn. */
export const echarts = () => import("./vendor/echarts-6.1.0.js");
