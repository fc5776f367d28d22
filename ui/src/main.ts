import { mount } from "svelte";
import App from "./App.svelte";
import { locale } from "./messages";
import "./styles/base.css";
import { theme } from "./theme.svelte";

theme.apply();
document.documentElement.lang = locale;
const target = document.getElementById("app");
if (target === null) throw new Error("index.html has no #app");
mount(App, { target });
