plugins {
    kotlin("jvm") version "2.4.20"
    `java-library`
    `maven-publish`
}

group = "tachyon"
version = "0.1.0"

kotlin {
    jvmToolchain(25)
    explicitApi()
    compilerOptions.jvmTarget = org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_22
}

dependencies {
    api("tachyon:tachyon:0.1.0") // the Java classes: mvn install in ../java
    api("org.jetbrains.kotlinx:kotlinx-coroutines-core:1.8.0")
    testImplementation(kotlin("test"))
}

tasks.test {
    useJUnitPlatform()
    jvmArgs("--enable-native-access=ALL-UNNAMED")
}

publishing {
    publications.create<MavenPublication>("tachyon") { from(components["java"]) }
}
