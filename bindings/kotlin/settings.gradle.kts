rootProject.name = "tachyon-kotlin"

dependencyResolutionManagement {
    repositories {
        mavenLocal { content { includeGroup("tachyon") } }
        mavenCentral()
    }
}
